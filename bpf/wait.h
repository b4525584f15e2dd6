/* SPDX-License-Identifier: GPL-2.0-only */
/* One interval off the CPU: what ended it, and who held the CPU. Part of stages.h. */
#ifndef AGENTTUNE_WAIT_H
#define AGENTTUNE_WAIT_H

#include "history.h"

/* Where a nanosecond of a step went. Disjoint; together they are the step. */
enum at_bucket {
	AT_RUN, /* on the CPU: user code and system calls, unless the latter are hooked */
	AT_SYSCALL, /* on the CPU in a system call, where hooked */
	AT_FAULT, /* on the CPU in a page fault, where hooked */
	AT_STOLEN_HARDIRQ,
	AT_STOLEN_SOFTIRQ,
	AT_WAKE_IPI, /* sched_waking to sched_wakeup */
	AT_RUN_QUEUE, /* sched_wakeup to switch-in */
	AT_PREEMPTED,
	AT_THROTTLED,
	AT_EXTERNAL, /* blocked, until the completing chain begins */
	AT_CHAIN_HARDIRQ, /* blocked, hardirq entry to softirq raise, thread waking or waking */
	AT_CHAIN_PENDING, /* blocked, softirq raise to entry */
	AT_CHAIN_SOFTIRQ, /* blocked, softirq entry to waking */
	AT_CHAIN_THREAD, /* blocked, waking of a kernel thread to the waking it does */
	AT_EVENT_LOOP, /* own completion was ready; the thread was busy with other steps */
	AT_UNSEEN, /* off the CPU, and the events that would tell why were not seen */
	AT_BUCKETS
};

/* at_wait.flags */
enum {
	AT_WAIT_BLOCKED = 1, /* else it stayed runnable */
	AT_WAIT_THROTTLED = 2, /* its cgroup had used up cpu.max */
	AT_WAIT_MIGRATED = 4, /* ran again on another CPU than it was queued on */
	AT_WAIT_FAULT = 8, /* blocked in a page fault, not a system call */
	AT_WAIT_IO = 16, /* blocked in iowait */
	AT_WAIT_NO_WAKING = 32, /* the waking was not seen */
	AT_WAIT_NO_WAKEUP = 64, /* the wakeup was not seen; its leg counts to the run queue */
};

/* What the waker side knows; written under the woken task's pi_lock or its run queue's lock. */
struct at_wake {
	__u64 waking_ns;
	__u64 wakeup_ns;
	/* The target CPU's interrupt time up to the wakeup. */
	__u64 hardirq_ns;
	__u64 softirq_ns;
	__u64 waker_comm[AT_COMM_WORDS];
	__u32 waker; /* tid of the task that ran; meaningful when no interrupt woke */
	__u16 waker_cpu;
	__u16 cpu; /* queued on */
	__u32 throttled;
	__u32 pad;
	struct at_chain chain;
};

/* The times ascend; where CPUs' clocks disagree, each is at least the one before. */
struct at_wait {
	__u64 out_ns;
	__u64 waking_ns; /* 0: it stayed runnable, or AT_WAIT_NO_WAKING */
	__u64 wakeup_ns; /* 0: so too, or AT_WAIT_NO_WAKEUP */
	__u64 in_ns;
	struct at_chain chain;
	struct at_holder holder; /* while it was runnable */
	/* Interrupt time on the holder's CPU while it was runnable; 0 after a migration. */
	__u64 hardirq_ns;
	__u64 softirq_ns;
	__u64 waker_comm[AT_COMM_WORDS];
	__u32 waker;
	__u16 waker_cpu;
	__u16 out_cpu;
	__u16 queue_cpu;
	__u16 in_cpu;
	__u32 flags;
	__s32 syscall; /* number, -1 in a fault or unknown */
	__u32 object_kind; /* of what the system call waits on: enum at_object */
	__u64 object; /* file descriptor's inode, futex address, child pid: by object_kind */
	/* Blocked time, up to the chain, of like waits that found no slot. */
	__u64 like_ns;
	__u32 like_waits;
	__u32 pad;
};

/* What a blocked system call waited on, where the front-end looked. */
enum at_object {
	AT_NO_OBJECT,
	AT_OBJECT_FILE,
	AT_OBJECT_PIPE,
	AT_OBJECT_SOCKET,
	AT_OBJECT_FUTEX,
	AT_OBJECT_TIMER,
	AT_OBJECT_CHILD,
	AT_OBJECT_POLL,
	AT_OBJECT_URING,
};

#define AT_LEGS 4

/* `point`, or `end` where the chain has no such point (0). */
AT_INLINE __u64 at_point(__u64 point, __u64 end)
{
	return point + (end & at_sign(point - 1));
}

/* `other` when it comes after `point`, else `end`; of two at once, the `later` one comes after. */
AT_INLINE __u64 at_point_after(__u64 point, __u64 other, int later, __u64 end)
{
	__u64 after = at_sign(point - other - later);

	return (other & after) | (end & ~after);
}

/* Where the chain begins; `end` for one without points. */
AT_INLINE __u64 at_chain_begin(const struct at_cause *cause, __u64 end)
{
	__u64 first = at_lesser(at_point(cause->irq_ns, end), at_point(cause->raise_ns, end));

	first = at_lesser(first, at_point(cause->entry_ns, end));
	return at_lesser(at_lesser(first, at_point(cause->thread_ns, end)), end);
}

/* Equal for waits for the same kind of thing, brought by the same interrupt or task; 0: unknown. */
AT_INLINE __u64 at_likeness(const struct at_chain *chain, __u32 flags, __u32 object_kind)
{
	const struct at_cause *cause = &chain->cause;
	__u64 who = cause->flags & AT_CAUSE_IRQ ? cause->irq : cause->origin;

	flags &= AT_WAIT_BLOCKED | AT_WAIT_FAULT | AT_WAIT_NO_WAKING;
	if ((flags & ~AT_WAIT_FAULT) != AT_WAIT_BLOCKED)
		return 0;
	return who << 32 | (__u64)cause->flags << 16 | object_kind << 8 | chain->done.kind << 4 |
	       flags >> 3 | 2;
}

/*
 * Blocked time from `out_ns` to `end`, the waking, split at the chain: each point of the chain
 * begins a leg that lasts to the next point. The parts sum to the blocked time exactly. Unrolled:
 * v6.1's verifier refuses some loops that clang makes of these ("back-edge", check_cfg()).
 */
AT_INLINE void at_split_blocked(const struct at_cause *cause, __u64 out_ns, __u64 end,
				__u64 *buckets)
{
	__u64 first = end, points[AT_LEGS];
	__u32 index, other;

	points[0] = at_point(cause->irq_ns, end);
	points[1] = at_point(cause->raise_ns, end);
	points[2] = at_point(cause->entry_ns, end);
	points[3] = at_point(cause->thread_ns, end);
	AT_UNROLL
	for (index = 0; index < AT_LEGS; index++)
		first = at_lesser(first, points[index]);
	buckets[AT_EXTERNAL] += at_overlap(out_ns, end, out_ns, first);
	AT_UNROLL
	for (index = 0; index < AT_LEGS; index++) {
		__u64 next = end;

		AT_UNROLL
		for (other = 0; other < AT_LEGS; other++)
			next = at_lesser(next, at_point_after(points[index], points[other],
							      other > index, end));
		buckets[AT_CHAIN_HARDIRQ + index] +=
			at_overlap(out_ns, end, points[index], next);
	}
}

#endif
