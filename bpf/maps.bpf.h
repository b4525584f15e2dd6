/* SPDX-License-Identifier: GPL-2.0-only */
/* Parameters and maps of the CO-RE front-end. */
#ifndef AGENTTUNE_MAPS_BPF_H
#define AGENTTUNE_MAPS_BPF_H

#include "layout.h"

const volatile struct at_params params SEC(".rodata.params");

/* User space opens and closes the window with one write, after every program is attached. */
volatile __u32 window_open SEC(".data.window") = 0;

/* Sizes of 1 here are set before loading, from the machine's CPUs and vectors. */
#define HASH(name_, key_, value_)                                                                  \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_HASH);                                                   \
		__uint(max_entries, 1);                                                            \
		__type(key, key_);                                                                 \
		__type(value, value_);                                                             \
	} name_ SEC(".maps")

#define PERCPU_ARRAY(name_, entries_, value_)                                                      \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                           \
		__uint(max_entries, entries_);                                                     \
		__type(key, __u32);                                                                \
		__type(value, value_);                                                             \
	} name_ SEC(".maps")

PERCPU_ARRAY(states, 1, struct at_state);
PERCPU_ARRAY(archs, AT_ARCHS, struct at_load);
PERCPU_ARRAY(softirqs, AT_SOFTIRQS, struct at_softirq);
PERCPU_ARRAY(wakeups, AT_CONTEXTS, struct at_histogram);
/* The CPU is part of these keys, so every value has one writer and needs no atomics. */
HASH(irqs, struct at_irq_key, struct at_irq);
HASH(napis, struct at_napi_key, struct at_napi);
HASH(agents, struct at_agent_key, struct at_agent);
/* cgroup id → whether it lies below a selected one. Neither ids nor ancestors ever change. */
HASH(cgroups, __u64, __u32);

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct at_waking);
} threads SEC(".maps");

/* First values; too large for a BPF program's stack. */
static const struct at_irq no_irq;
static const struct at_napi no_napi;
static const struct at_agent no_agent;

/* The value for the key, made when it is new; NULL, counted as lost, when the map is full. */
static __always_inline void *value_for(void *map, const void *key, const void *first,
				       struct at_state *state)
{
	void *value = bpf_map_lookup_elem(map, key);

	if (value)
		return value;
	bpf_map_update_elem(map, key, first, BPF_NOEXIST);
	value = bpf_map_lookup_elem(map, key);
	if (!value)
		state->lost++;
	return value;
}

/* This CPU's state, or NULL outside the window. */
static __always_inline struct at_state *open_state(void)
{
	__u32 zero = 0;

	return window_open ? bpf_map_lookup_elem(&states, &zero) : NULL;
}

#endif
