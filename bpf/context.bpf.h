/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel's own per-CPU variables say about the running context. */
#ifndef AGENTTUNE_CONTEXT_BPF_H
#define AGENTTUNE_CONTEXT_BPF_H

#include "window.bpf.h"

/* A task's name as two numbers; __set_task_comm() pads it with zeros since v5.17. */
struct at_comm {
	__u64 words[AT_COMM_LEN / 8];
};

static __always_inline struct at_comm comm_of(struct task_struct *task)
{
	struct at_comm comm;

	comm.words[0] = AT_READ_WORD(task, task_struct, comm, 0);
	comm.words[1] = AT_READ_WORD(task, task_struct, comm, 1);
	return comm;
}

/*
 * A task that has not left its CPU since it began to sleep just goes on: nothing to wait for.
 * A delayed dequeue (v6.12, 152e11f6df29) leaves a sleeper on its queue.
 */
static __always_inline bool still_runs(struct task_struct *task)
{
	if (AT_HAS(sched_entity, sched_delayed) &&
	    AT_READ_IN(task, task_struct, se, sched_entity, sched_delayed))
		return false;
	return AT_READ(task, task_struct, on_rq) && AT_READ(task, task_struct, on_cpu);
}

/*
 * Interrupts without a tracepoint (such as KVM's asynchronous page faults) have no frame; the
 * preempt count still tells that they are hardirqs.
 */
static __always_inline bool in_hardirq(void)
{
	return at_preempt_count() & AT_HARDIRQ_MASK;
}

/* Whether the vector was pending before this raise; the tracepoint fires before the bit is set. */
static __always_inline bool softirq_pending(__u32 vector)
{
	return at_softirqs_pending() >> (vector & 31) & 1;
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

static __always_inline bool is_ksoftirqd(struct task_struct *task)
{
	/* "ksoftirq" as a little-endian number. */
	return AT_READ(task, task_struct, flags) & AT_PF_KTHREAD &&
	       AT_READ_WORD(task, task_struct, comm, 0) == 0x71726974666f736bULL;
}

/* setup_irq_thread(), kernel/irq/manage.c, v6.12: "irq/45-name", here its first four letters. */
static __always_inline bool is_irq_thread(struct task_struct *task)
{
	return (__u32)AT_READ_WORD(task, task_struct, comm, 0) == 0x2f717269;
}

/* The chain that a kernel thread carries on when it is woken from here. */
static __always_inline struct at_cause cause_for(const struct at_cpu *frames,
						 struct task_struct *task, __u64 now_ns)
{
	__u32 tid = AT_READ(task, task_struct, pid);

	return is_irq_thread(task) ? at_cause_threaded(frames, tid, now_ns) :
				     at_cause_handed(frames, tid, now_ns);
}

static __always_inline bool runs_ksoftirqd(void)
{
	return is_ksoftirqd(at_current());
}

#endif
