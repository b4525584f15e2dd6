/* SPDX-License-Identifier: GPL-2.0-only */
/* Parameters and maps of the probes. */
#ifndef AGENTTUNE_PROBE_MAPS_BPF_H
#define AGENTTUNE_PROBE_MAPS_BPF_H

#include "probe_kernel.h"
#include "probe.h"
#include "select.bpf.h"

AT_CONSTANT(struct at_probe_params, chosen)

/* User space turns it over, waits until no program uses the old one, reads that and empties it. */
AT_VARIABLE(parity)

AT_PERCPU_ARRAY(probe_cpus, 1, struct at_probe_cpu);
AT_PERCPU_ARRAY(exits, 1, struct at_exits);
AT_HASH(samples, struct at_sample_key, struct at_histogram);
AT_HASH(requests, __u64, struct at_request);

AT_THREADS(probe_threads, struct at_probe_thread);

/* Too large for a BPF program's stack. */
AT_ZERO(struct at_histogram, no_samples);

/* This CPU's state, or NULL outside the window. */
static __always_inline struct at_probe_cpu *open_cpu(void)
{
	struct at_probe_cpu *cpu;
	__u32 zero = 0;

	if (!at_window_open())
		return NULL;
	cpu = at_lookup(probe_cpus, &zero);
	if (cpu)
		cpu->frames.id = bpf_get_smp_processor_id();
	return cpu;
}

/* Fills in the key's CPU and parity. */
static __always_inline void record(struct at_probe_cpu *cpu, struct at_sample_key *key,
				   __u64 value)
{
	struct at_histogram *histogram;

	key->cpu = cpu->frames.id;
	key->parity = at_parity();
	histogram = at_lookup(samples, key);
	if (!histogram) {
		at_update(samples, key, at_zero(no_samples), BPF_NOEXIST);
		histogram = at_lookup(samples, key);
	}
	if (histogram)
		at_record(histogram, value);
	else
		cpu->lost++;
}

static __always_inline void set_comm(struct at_sample_key *key, struct task_struct *task)
{
	struct at_comm comm = comm_of(task);

	__builtin_memcpy(key->name, &comm, sizeof(comm));
}

static __always_inline void record_task(struct at_probe_cpu *cpu, __u32 sample,
					struct task_struct *task, __u64 value)
{
	struct at_sample_key key = { .sample = sample };

	set_comm(&key, task);
	record(cpu, &key, value);
}

/* A thread's state, made where no run queue is locked; see begin_waking() in turn.bpf.h. */
static __always_inline struct at_probe_thread *new_thread(struct at_probe_cpu *cpu,
							  struct task_struct *task)
{
	struct at_probe_thread *thread = at_thread_make(probe_threads, task);

	if (!thread)
		cpu->lost++;
	return thread;
}

static __always_inline struct at_probe_thread *known_thread(struct task_struct *task)
{
	return at_thread_get(probe_threads, task);
}

#endif
