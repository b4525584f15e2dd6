/* SPDX-License-Identifier: GPL-2.0-only */
/* Maps of `agenttune measure`. */
#ifndef AGENTTUNE_MAPS_BPF_H
#define AGENTTUNE_MAPS_BPF_H

#include "window.bpf.h"

AT_PERCPU_ARRAY(states, 1, struct at_state);
AT_PERCPU_ARRAY(archs, AT_ARCHS, struct at_load);
AT_PERCPU_ARRAY(softirqs, AT_SOFTIRQS, struct at_softirq);
AT_PERCPU_ARRAY(wakeups, AT_CONTEXTS, struct at_histogram);
/* The CPU is part of these keys, so every value has one writer and needs no atomics. */
AT_HASH(irqs, struct at_irq_key, struct at_irq);
AT_HASH(napis, struct at_napi_key, struct at_napi);
AT_HASH(agents, struct at_agent_key, struct at_agent);
AT_THREADS(threads, struct at_waking);

/* First values; too large for a BPF program's stack. */
AT_ZERO(struct at_irq, no_irq);
AT_ZERO(struct at_napi, no_napi);
AT_ZERO(struct at_agent, no_agent);

/* The value for the key, made when it is new; NULL, counted as lost, when the map is full. */
static __always_inline void *value_for(void *map, const void *key, const void *first,
				       struct at_state *state)
{
	void *value = at_lookup_in(map, key);

	if (value)
		return value;
	at_update_in(map, key, first, BPF_NOEXIST);
	value = at_lookup_in(map, key);
	if (!value)
		state->lost++;
	return value;
}

/* This CPU's state, or NULL outside the window. */
static __always_inline struct at_state *open_state(void)
{
	__u32 zero = 0;

	return at_window_open() ? at_lookup(states, &zero) : NULL;
}

#endif
