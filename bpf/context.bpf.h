/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel's own per-CPU variables say about the running context. */
#ifndef AGENTTUNE_CONTEXT_BPF_H
#define AGENTTUNE_CONTEXT_BPF_H

#include "maps.bpf.h"

/* A task's name as two numbers; __set_task_comm() pads it with zeros since v5.17. */
static __always_inline const __u64 *comm_words(struct task_struct *task)
{
	return (const __u64 *)__builtin_preserve_access_index(&task->comm);
}

/*
 * Interrupts without a tracepoint (such as KVM's asynchronous page faults) have no frame; the
 * preempt count still tells that they are hardirqs.
 */
static __always_inline bool in_hardirq(void)
{
	int count = 0;

	if (&__preempt_count)
		count = *(const int *)bpf_this_cpu_ptr(&__preempt_count);
	else if (&pcpu_hot && bpf_core_field_exists(pcpu_hot.preempt_count))
		count = ((const struct pcpu_hot *)bpf_this_cpu_ptr(&pcpu_hot))->preempt_count;
	return count & HARDIRQ_MASK;
}

/* Whether the vector was pending before this raise; the tracepoint fires before the bit is set. */
static __always_inline bool softirq_pending(__u32 vector)
{
	__u16 pending = 0;

	if (&__softirq_pending)
		pending = *(const __u16 *)bpf_this_cpu_ptr(&__softirq_pending);
	else if (&pcpu_hot && bpf_core_field_exists(pcpu_hot.softirq_pending))
		pending = ((const struct pcpu_hot *)bpf_this_cpu_ptr(&pcpu_hot))->softirq_pending;
	else if (&irq_stat && bpf_core_field_exists(irq_stat.__softirq_pending))
		/* A typedef's variable: the verifier takes no direct read of it. */
		bpf_core_read(&pending, sizeof(pending),
			      &((const irq_cpustat_t *)bpf_this_cpu_ptr(&irq_stat))->__softirq_pending);
	return pending >> (vector & 31) & 1;
}

/* A stamp for code that hardirqs can interrupt: the clock must not move over a hardirq. */
static __always_inline struct at_stamp stable_stamp(const volatile struct at_cpu *frames)
{
	struct at_stamp stamp;

	for (int tries = 0; tries < 4; tries++) {
		stamp.hardirq_ns = frames->hardirq_ns;
		stamp.now_ns = bpf_ktime_get_ns();
		if (stamp.hardirq_ns == frames->hardirq_ns)
			break;
	}
	return stamp;
}

static __always_inline bool runs_ksoftirqd(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	/* "ksoftirq" as a little-endian number. */
	return task->flags & PF_KTHREAD && comm_words(task)[0] == 0x71726974666f736bULL;
}

#endif
