// SPDX-License-Identifier: GPL-2.0-only
/* The pure core as a shared object, for test_measure_stages.py. */
#include <linux/types.h>
#include "stages.h"
#include "histogram.h"

void hardirq_enter(struct at_cpu *cpu, __u32 id, __u64 now_ns)
{
	at_hardirq_enter(cpu, id, now_ns);
}

__u64 hardirq_exit(struct at_cpu *cpu, __u32 id, __u64 now_ns)
{
	return at_hardirq_exit(cpu, id, now_ns);
}

void softirq_raise(struct at_cpu *cpu, __u32 vector, int pending, __u64 now_ns)
{
	at_softirq_raise(cpu, vector, pending, now_ns);
}

__u64 softirq_enter(struct at_cpu *cpu, __u32 vector, __u64 now_ns)
{
	return at_softirq_enter(cpu, vector, at_stamp(cpu, now_ns));
}

__u64 softirq_exit(struct at_cpu *cpu, __u32 vector, __u64 now_ns)
{
	return at_softirq_exit(cpu, vector, at_stamp(cpu, now_ns));
}

int switch_matters(const struct at_cpu *cpu)
{
	return at_switch_matters(cpu);
}

void switch_to(struct at_cpu *cpu, __u32 prev, __u32 next, __u64 now_ns)
{
	at_switch(cpu, prev, next, now_ns);
}

void turn_begin(struct at_cpu *cpu, __u64 now_ns)
{
	at_turn_begin(cpu, at_stamp(cpu, now_ns));
}

__u64 turn_end(const struct at_cpu *cpu, __u64 now_ns, __u64 *stolen_ns)
{
	return at_turn_end(cpu, at_stamp(cpu, now_ns), stolen_ns);
}

__u32 context(const struct at_cpu *cpu, __u32 task)
{
	return at_context(cpu, task);
}

__u32 bucket(__u64 value)
{
	return at_bucket(value);
}

__u32 cpu_size(void)
{
	return sizeof(struct at_cpu);
}
