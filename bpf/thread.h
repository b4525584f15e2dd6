/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a thread's nanoseconds went since it was first seen. Part of stages.h. */
#ifndef AGENTTUNE_THREAD_H
#define AGENTTUNE_THREAD_H

#include "wait.h"

/* Powers of two: what one thread keeps of its open steps, and of their longest waits. */
#define AT_STEPS 8
#define AT_WAITS 8
#define AT_STEP_NAME_WORDS 3

enum at_thread_state { AT_NEW, AT_RUNNING, AT_RUNNABLE, AT_BLOCKED };

struct at_counts {
	__u32 waits;
	__u32 preemptions;
	__u32 migrations;
	__u32 faults;
	__u32 coalesced;
	__u32 unattributed;
};

/* An open step: what the thread's totals were when it began. id 0: free. See step.h. */
struct at_step {
	__u64 id;
	__u64 begin_ns;
	__u64 deadline_ns;
	__u64 cookie; /* the socket bound last; 0: none */
	__u64 name[AT_STEP_NAME_WORDS];
	__u64 base_ns[AT_BUCKETS];
	struct at_counts base;
	__u32 budget_us;
	__u16 kind;
	__u16 flags;
};

/*
 * The thread's CPU writes everything but `wake`, which belongs to the waker from switch-out to
 * switch-in. total_ns covers all time since the thread was first seen up to `since` (when it runs)
 * or up to out_ns (when it does not).
 */
struct at_thread {
	__u64 total_ns[AT_BUCKETS];
	struct at_stamp since;
	__u64 since_softirq_ns;
	__u64 out_ns;
	/* This CPU's interrupt time at the switch-out. */
	__u64 out_hardirq_ns;
	__u64 out_softirq_ns;
	__u64 oldest_step_ns;
	__u64 object;
	__u32 object_kind;
	__s32 syscall;
	__u32 tid;
	__u32 tgid;
	__u32 out_flags; /* at_wait.flags */
	__u16 cpu;
	__u8 state;
	__u8 mode; /* the bucket that running counts to */
	__u32 open_steps;
	__u8 mode_before; /* the fault that runs now */
	__u8 resuming; /* a blocked wait ended; not back in user space yet */
	__u16 pad;
	struct at_counts counts;
	struct at_majority stolen_softirq;
	struct at_majority stolen_hardirq;
	struct at_wake wake;
	struct at_wait waits[AT_WAITS];
	struct at_step steps[AT_STEPS];
};

/* How the time since `since` splits; the parts sum to the wall time exactly. */
struct at_run {
	__u64 own_ns;
	__u64 hardirq_ns;
	__u64 softirq_ns;
};

AT_INLINE __u64 at_lesser(__u64 one, __u64 other)
{
	return one < other ? one : other;
}

AT_INLINE struct at_run at_run_since(const struct at_thread *thread, const struct at_cpu *cpu,
				     struct at_stamp now)
{
	struct at_run run = {};
	__u64 wall_ns;

	if (thread->state != AT_RUNNING || now.now_ns <= thread->since.now_ns)
		return run;
	wall_ns = now.now_ns - thread->since.now_ns;
	run.hardirq_ns = at_lesser(now.hardirq_ns - thread->since.hardirq_ns, wall_ns);
	run.softirq_ns = at_lesser(cpu->softirq_ns - thread->since_softirq_ns,
				   wall_ns - run.hardirq_ns);
	run.own_ns = wall_ns - run.hardirq_ns - run.softirq_ns;
	return run;
}

AT_INLINE void at_thread_mark(struct at_thread *thread, const struct at_cpu *cpu,
			      struct at_stamp now)
{
	thread->since = now;
	thread->since_softirq_ns = cpu->softirq_ns;
}

/* Seen for the first time, on a CPU. */
AT_INLINE void at_thread_seen(struct at_thread *thread, const struct at_cpu *cpu, __u32 tid,
			      __u32 tgid, struct at_stamp now)
{
	thread->tid = tid;
	thread->tgid = tgid;
	thread->state = AT_RUNNING;
	thread->mode = AT_RUN;
	thread->cpu = cpu->id;
	thread->wake.waking_ns = 0;
	at_thread_mark(thread, cpu, now);
}

/* Bring the totals of a running thread up to now. */
AT_INLINE void at_thread_account(struct at_thread *thread, const struct at_cpu *cpu,
				 struct at_stamp now)
{
	struct at_run run = at_run_since(thread, cpu, now);

	thread->total_ns[at_bounded(thread->mode, AT_BUCKETS)] += run.own_ns;
	thread->total_ns[AT_STOLEN_HARDIRQ] += run.hardirq_ns;
	thread->total_ns[AT_STOLEN_SOFTIRQ] += run.softirq_ns;
	at_thread_mark(thread, cpu, now);
}

/* From here on, running counts to `mode`: AT_RUN, AT_SYSCALL or AT_FAULT. The mode before. */
AT_INLINE __u8 at_thread_mode(struct at_thread *thread, const struct at_cpu *cpu, __u8 mode,
			      struct at_stamp now)
{
	__u8 before = thread->mode;

	at_thread_account(thread, cpu, now);
	thread->mode = mode;
	return before;
}

/* What stole most from this turn, for the open steps. */
AT_INLINE void at_thread_blame(struct at_thread *thread, const struct at_past_turn *turn)
{
	if (turn->softirq.weight_ns)
		at_vote(&thread->stolen_softirq, turn->softirq.irq, turn->softirq.vector,
			turn->softirq.weight_ns);
	if (turn->hardirq.weight_ns)
		at_vote(&thread->stolen_hardirq, turn->hardirq.irq, 0, turn->hardirq.weight_ns);
}

/* Leaves its CPU. `flags`: AT_WAIT_BLOCKED, _THROTTLED, _FAULT, _IO as they hold now. */
AT_INLINE void at_thread_out(struct at_thread *thread, const struct at_cpu *cpu, __u32 flags,
			     struct at_stamp now)
{
	at_thread_account(thread, cpu, now);
	thread->state = flags & AT_WAIT_BLOCKED ? AT_BLOCKED : AT_RUNNABLE;
	thread->out_flags = flags;
	thread->out_ns = now.now_ns;
	thread->out_hardirq_ns = now.hardirq_ns;
	thread->out_softirq_ns = cpu->softirq_ns;
	thread->cpu = cpu->id;
	thread->object_kind = AT_NO_OBJECT;
	thread->syscall = -1;
}

/*
 * sched_waking on `cpu`, where `waker` is the current task. The first waking since the switch-out
 * is the one that ends the wait; returns 0 for a later one, and for one of a thread that runs.
 */
AT_INLINE int at_thread_waking(struct at_thread *thread, const struct at_cpu *cpu, int hidden,
			       __u32 waker, const __u64 *waker_comm, __u64 now_ns)
{
	struct at_wake *wake = &thread->wake;

	if (wake->waking_ns && wake->waking_ns >= thread->out_ns) {
		thread->counts.coalesced++;
		return 0;
	}
	wake->wakeup_ns = 0;
	wake->throttled = 0;
	wake->waker = waker;
	wake->waker_comm[0] = waker_comm[0];
	wake->waker_comm[1] = waker_comm[1];
	wake->waker_cpu = cpu->id;
	at_chain_now(cpu, hidden, &wake->chain);
	wake->waking_ns = now_ns;
	return 1;
}

/* sched_wakeup: queued on `target`'s CPU. The target's times may be read from another CPU. */
AT_INLINE void at_thread_wakeup(struct at_thread *thread, const struct at_cpu *target,
				int throttled, __u64 now_ns)
{
	struct at_wake *wake = &thread->wake;

	if (!wake->waking_ns || wake->wakeup_ns)
		return;
	wake->cpu = target->id;
	wake->hardirq_ns = target->hardirq_ns;
	wake->softirq_ns = target->softirq_ns;
	wake->throttled = throttled;
	wake->wakeup_ns = now_ns;
}

/* The slot for one more wait: a free one, one that no open step needs, or the shortest. */
AT_INLINE struct at_wait *at_wait_slot(struct at_thread *thread, __u64 wait_ns)
{
	__u64 least_ns = wait_ns;
	__u32 index, found = AT_WAITS;

	for (index = 0; index < AT_WAITS; index++) {
		const struct at_wait *wait = &thread->waits[index];
		__u64 ns = wait->in_ns > thread->oldest_step_ns ? wait->in_ns - wait->out_ns : 0;

		if (ns < least_ns) {
			least_ns = ns;
			found = index;
		}
	}
	if (found >= AT_WAITS)
		return 0;
	return &thread->waits[at_bounded(found, AT_WAITS)];
}

AT_INLINE void at_fill_wait(struct at_wait *wait, const struct at_thread *thread, __u32 flags,
			    const struct at_cpu *cpu, __u64 in_ns)
{
	const struct at_wake *wake = &thread->wake;
	int blocked = flags & AT_WAIT_BLOCKED;

	wait->out_ns = thread->out_ns;
	wait->in_ns = in_ns;
	wait->waking_ns = blocked ? wake->waking_ns : 0;
	wait->wakeup_ns = blocked ? wake->wakeup_ns : 0;
	wait->out_cpu = thread->cpu;
	wait->in_cpu = cpu->id;
	wait->queue_cpu = blocked && wake->wakeup_ns ? wake->cpu : thread->cpu;
	wait->flags = flags;
	wait->syscall = thread->syscall;
	wait->object = thread->object;
	wait->object_kind = thread->object_kind;
	wait->hardirq_ns = 0;
	wait->softirq_ns = 0;
	wait->waker = 0;
	if (flags & AT_WAIT_NO_WAKING)
		wait->waking_ns = 0;
	else if (blocked) {
		wait->chain = wake->chain;
		wait->waker = wake->waker;
		wait->waker_cpu = wake->waker_cpu;
		wait->waker_comm[0] = wake->waker_comm[0];
		wait->waker_comm[1] = wake->waker_comm[1];
	}
	if (wait->queue_cpu != wait->in_cpu)
		return;
	wait->hardirq_ns = cpu->hardirq_ns - (blocked ? wake->hardirq_ns : thread->out_hardirq_ns);
	wait->softirq_ns = cpu->softirq_ns - (blocked ? wake->softirq_ns : thread->out_softirq_ns);
	if (blocked && !wake->wakeup_ns)
		wait->hardirq_ns = wait->softirq_ns = 0;
}

/* Charges the whole interval off the CPU to buckets; returns the wait's flags. */
AT_INLINE __u32 at_charge_wait(struct at_thread *thread, __u64 in_ns)
{
	const struct at_wake *wake = &thread->wake;
	__u32 flags = thread->out_flags;
	__u64 out_ns = thread->out_ns, woken_ns, queued_ns;

	if (!(flags & AT_WAIT_BLOCKED)) {
		thread->counts.preemptions++;
		thread->total_ns[flags & AT_WAIT_THROTTLED ? AT_THROTTLED : AT_PREEMPTED] +=
			in_ns - out_ns;
		return flags;
	}
	woken_ns = wake->waking_ns;
	if (woken_ns < out_ns || woken_ns > in_ns) {
		thread->counts.unattributed++;
		thread->total_ns[AT_UNSEEN] += in_ns - out_ns;
		return flags | AT_WAIT_NO_WAKING;
	}
	at_split_blocked(&wake->chain.cause, out_ns, woken_ns, thread->total_ns);
	queued_ns = wake->wakeup_ns;
	if (queued_ns < woken_ns || queued_ns > in_ns) {
		flags |= AT_WAIT_NO_WAKEUP;
		queued_ns = woken_ns;
	}
	if (wake->throttled)
		flags |= AT_WAIT_THROTTLED;
	if (!wake->chain.cause.flags)
		thread->counts.unattributed++;
	thread->total_ns[AT_WAKE_IPI] += queued_ns - woken_ns;
	thread->total_ns[wake->throttled ? AT_THROTTLED : AT_RUN_QUEUE] += in_ns - queued_ns;
	return flags;
}

/*
 * Runs again. Returns the slot of this wait when an open step may want it: at least `floor_ns`
 * long, and among the longest; the caller adds the holder with at_wait_holder(). Else NULL.
 */
AT_INLINE struct at_wait *at_thread_in(struct at_thread *thread, const struct at_cpu *cpu,
				       __u64 floor_ns, struct at_stamp now)
{
	__u64 in_ns = now.now_ns, wait_ns;
	struct at_wait *slot = 0;
	__u32 flags;

	if (in_ns < thread->out_ns)
		in_ns = thread->out_ns;
	wait_ns = in_ns - thread->out_ns;
	flags = at_charge_wait(thread, in_ns);
	thread->counts.waits++;
	if (thread->cpu != cpu->id) {
		thread->counts.migrations++;
		flags |= AT_WAIT_MIGRATED;
	}
	if (thread->open_steps && wait_ns >= floor_ns)
		slot = at_wait_slot(thread, wait_ns);
	if (slot)
		at_fill_wait(slot, thread, flags, cpu, in_ns);
	thread->wake.waking_ns = 0;
	thread->state = AT_RUNNING;
	thread->resuming = flags & AT_WAIT_BLOCKED;
	thread->cpu = cpu->id;
	at_thread_mark(thread, cpu, now);
	return slot;
}

/* Who held the CPU while the thread was runnable; `history` is that of wait->queue_cpu. */
AT_INLINE void at_wait_holder(struct at_wait *wait, const struct at_history *history)
{
	__u64 from = wait->out_ns;

	if (wait->waking_ns)
		from = wait->wakeup_ns ? wait->wakeup_ns : wait->waking_ns;
	at_find_holder(history, from, wait->in_ns, &wait->holder);
	wait->holder.cpu = wait->queue_cpu;
}

#endif
