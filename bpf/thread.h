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
	__u32 lane; /* of an event loop's task; 0: the thread itself, or not told */
	__u16 kind;
	__u16 flags;
};

/* The search for a wait's slot. In memory, or a verifier follows each of its results apart. */
struct at_search {
	__u64 least_ns;
	__u64 least_older_ns;
	__u32 found;
	__u32 older;
	__u32 newer;
	__u32 pad;
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
	__u64 newest_step_ns;
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
	__u16 slot; /* see at_slot() */
	struct at_counts counts;
	struct at_majority stolen_softirq;
	struct at_majority stolen_hardirq;
	struct at_wake wake;
	struct at_search search;
	struct at_wait waits[AT_WAITS];
	struct at_step steps[AT_STEPS];
};

/* How the time since `since` splits; the parts sum to the wall time exactly. */
struct at_run {
	__u64 own_ns;
	__u64 hardirq_ns;
	__u64 softirq_ns;
};

AT_INLINE struct at_run at_run_since(const struct at_thread *thread, const struct at_cpu *cpu,
				     struct at_stamp now)
{
	struct at_run run = {};
	__u64 wall_ns;

	wall_ns = at_after(now.now_ns, thread->since.now_ns);
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

/* The time that the totals reach. */
AT_INLINE __u64 at_thread_reached(const struct at_thread *thread)
{
	return thread->state == AT_RUNNING ? thread->since.now_ns : thread->out_ns;
}

/*
 * When this wait's waking was; 0: not seen. One that began while the thread still ran, which then
 * left before its waker could lock its run queue, counts from the switch-out: its wakeup came after
 * (try_to_wake_up() and ttwu_runnable(), kernel/sched/core.c, v6.12). A thread that still runs at
 * the wakeup goes on running: that waking is stale.
 */
AT_INLINE __u64 at_woken_ns(const struct at_thread *thread)
{
	const struct at_wake *wake = &thread->wake;

	if (!wake->waking_ns || wake->waking_ns >= thread->out_ns)
		return wake->waking_ns;
	return wake->wakeup_ns > thread->out_ns ? thread->out_ns : 0;
}

/*
 * sched_waking on `cpu`, where `waker` is the current task. The first waking since the switch-out
 * is the one that ends the wait; returns 0 for a later one. One that ended no wait, because the
 * thread ran or was woken already, is coalesced; it is counted when that is known.
 */
AT_INLINE int at_thread_waking(struct at_thread *thread, const struct at_cpu *cpu, int hidden,
			       __u32 waker, const __u64 *waker_comm, __u64 now_ns)
{
	struct at_wake *wake = &thread->wake;

	if (wake->waking_ns)
		thread->counts.coalesced++;
	if (thread->state != AT_RUNNING && at_woken_ns(thread))
		return 0;
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

/* Whether a wakeup tells something: its waking was seen, or a blocked thread's was missed. */
AT_INLINE int at_wakeup_matters(const struct at_thread *thread)
{
	if (!thread->wake.waking_ns)
		return thread->state == AT_BLOCKED;
	return !thread->wake.wakeup_ns;
}

/*
 * sched_wakeup: queued on `target`'s CPU. The target's times may be read from another CPU. A waking
 * that was missed cannot be later than its wakeup; who it was is not known.
 */
AT_INLINE void at_thread_wakeup(struct at_thread *thread, const struct at_cpu *target,
				int throttled, __u64 now_ns)
{
	struct at_wake *wake = &thread->wake;

	if (!at_wakeup_matters(thread))
		return;
	if (!wake->waking_ns) {
		struct at_chain unknown = {};

		wake->chain = unknown;
		wake->waker = 0;
		wake->waker_comm[0] = 0;
		wake->waker_comm[1] = 0;
		wake->waker_cpu = target->id;
		wake->waking_ns = now_ns;
	}
	wake->cpu = target->id;
	at_interrupts_now(target, now_ns, &wake->hardirq_ns, &wake->softirq_ns);
	wake->throttled = throttled;
	wake->wakeup_ns = now_ns;
}

/*
 * The slot for one more wait: a free one, one that no open step needs, or the shortest. Half of the
 * slots are for the newest step, or a step around many would leave nothing to those in it.
 */
AT_INLINE struct at_wait *at_wait_slot(struct at_thread *thread, __u64 wait_ns)
{
	volatile struct at_search *search = &thread->search;
	__u32 index, found;

	search->least_ns = wait_ns;
	search->least_older_ns = AT_UNKNOWN;
	search->found = AT_WAITS;
	search->older = AT_WAITS;
	search->newer = 0;
	for (index = 0; index < AT_WAITS; index++) {
		const struct at_wait *wait = &thread->waits[index];
		__u64 ns = wait->in_ns > thread->oldest_step_ns ? wait->in_ns - wait->out_ns : 0;

		if (ns < search->least_ns) {
			search->least_ns = ns;
			search->found = index;
		}
		if (wait->in_ns > thread->newest_step_ns) {
			search->newer++;
		} else if (ns < search->least_older_ns) {
			search->least_older_ns = ns;
			search->older = index;
		}
	}
	found = search->newer < AT_WAITS / 2 ? search->older : search->found;
	if (found >= AT_WAITS)
		return NULL;
	return &thread->waits[at_bounded(found, AT_WAITS)];
}

/* How an interval off the CPU ended: at_wait.flags, and the times that a wait has. */
struct at_ending {
	__u64 in_ns;
	__u64 waking_ns;
	__u64 wakeup_ns;
	__u32 flags;
	__u32 queue_cpu;
};

/* Everything that ended it; the CPU is the one where it was queued last, as far as was seen. */
AT_INLINE struct at_ending at_how_ended(const struct at_thread *thread, __u64 in_ns)
{
	const struct at_wake *wake = &thread->wake;
	struct at_ending ending = {
		.in_ns = in_ns, .flags = thread->out_flags, .queue_cpu = thread->cpu
	};

	if (!(ending.flags & AT_WAIT_BLOCKED))
		return ending;
	ending.waking_ns = at_lesser(at_woken_ns(thread), in_ns);
	if (!ending.waking_ns) {
		ending.flags |= AT_WAIT_NO_WAKING;
		return ending;
	}
	if (wake->throttled)
		ending.flags |= AT_WAIT_THROTTLED;
	if (!wake->wakeup_ns) {
		ending.flags |= AT_WAIT_NO_WAKEUP;
		return ending;
	}
	ending.wakeup_ns = at_lesser(wake->wakeup_ns, in_ns);
	if (ending.wakeup_ns < ending.waking_ns)
		ending.wakeup_ns = ending.waking_ns;
	ending.queue_cpu = wake->cpu;
	return ending;
}

/* Charges the whole interval off the CPU to buckets. */
AT_INLINE void at_charge_wait(struct at_thread *thread, const struct at_ending *ending)
{
	__u32 runnable = ending->flags & AT_WAIT_THROTTLED ? AT_THROTTLED : AT_PREEMPTED;
	__u64 queued_ns = ending->wakeup_ns;

	if (!(ending->flags & AT_WAIT_BLOCKED)) {
		thread->counts.preemptions++;
		thread->total_ns[runnable] += ending->in_ns - thread->out_ns;
		return;
	}
	if (ending->flags & AT_WAIT_NO_WAKING) {
		thread->counts.unattributed++;
		thread->total_ns[AT_UNSEEN] += ending->in_ns - thread->out_ns;
		return;
	}
	at_split_blocked(&thread->wake.chain.cause, thread->out_ns, ending->waking_ns,
			 thread->total_ns);
	if (!thread->wake.chain.cause.flags)
		thread->counts.unattributed++;
	if (ending->flags & AT_WAIT_NO_WAKEUP)
		queued_ns = ending->waking_ns;
	if (runnable == AT_PREEMPTED)
		runnable = AT_RUN_QUEUE;
	thread->total_ns[AT_WAKE_IPI] += queued_ns - ending->waking_ns;
	thread->total_ns[runnable] += ending->in_ns - queued_ns;
}

/*
 * Interrupt time while it was runnable, where the CPU that counted is the one it ran on again. Of
 * another CPU's wakeup the time is a guess: it is kept within the interval.
 */
AT_INLINE void at_fill_interrupts(struct at_wait *wait, const struct at_thread *thread,
				  const struct at_cpu *cpu, const struct at_ending *ending)
{
	const struct at_wake *wake = &thread->wake;
	int woken = ending->wakeup_ns != 0;
	__u64 wall_ns = ending->in_ns - (woken ? ending->wakeup_ns : thread->out_ns);
	__u64 hardirq_ns, softirq_ns;

	wait->hardirq_ns = 0;
	wait->softirq_ns = 0;
	if (ending->queue_cpu != cpu->id || (ending->flags & AT_WAIT_BLOCKED && !woken))
		return;
	hardirq_ns = at_after(cpu->hardirq_ns, woken ? wake->hardirq_ns : thread->out_hardirq_ns);
	softirq_ns = at_after(cpu->softirq_ns, woken ? wake->softirq_ns : thread->out_softirq_ns);
	wait->hardirq_ns = at_lesser(hardirq_ns, wall_ns);
	wait->softirq_ns = at_lesser(softirq_ns, wall_ns - wait->hardirq_ns);
}

AT_INLINE void at_fill_wait(struct at_wait *wait, const struct at_thread *thread,
			    const struct at_cpu *cpu, const struct at_ending *ending)
{
	wait->out_ns = thread->out_ns;
	wait->in_ns = ending->in_ns;
	wait->waking_ns = ending->waking_ns;
	wait->wakeup_ns = ending->wakeup_ns;
	wait->out_cpu = thread->cpu;
	wait->in_cpu = cpu->id;
	wait->queue_cpu = ending->queue_cpu;
	wait->flags = ending->flags;
	wait->syscall = thread->syscall;
	wait->object = thread->object;
	wait->object_kind = thread->object_kind;
	at_fill_interrupts(wait, thread, cpu, ending);
	wait->like_ns = 0;
	wait->like_waits = 0;
	wait->holder.tid = 0;
	wait->holder.held_ns = 0;
	wait->holder.seen_ns = 0;
	wait->holder.idle_ns = 0;
	wait->holder.cpu = ending->queue_cpu;
	wait->holder.softirq.weight_ns = 0;
	wait->holder.hardirq.weight_ns = 0;
	wait->waker = 0;
	wait->chain.cause.flags = 0;
	wait->chain.done.kind = AT_NO_COMPLETION;
	if (!ending->waking_ns)
		return;
	wait->chain = thread->wake.chain;
	wait->waker = thread->wake.waker;
	wait->waker_cpu = thread->wake.waker_cpu;
	wait->waker_comm[0] = thread->wake.waker_comm[0];
	wait->waker_comm[1] = thread->wake.waker_comm[1];
}

/* What a wait that is not kept leaves to a like one that is. */
struct at_like {
	__u64 likeness;
	__u64 subject;
	__u64 ns;
	__u32 waits;
};

AT_INLINE struct at_like at_like_of_slot(const struct at_wait *wait, __u64 since_ns)
{
	struct at_like like = {};

	if (wait->in_ns <= since_ns)
		return like;
	like.likeness = at_likeness(&wait->chain, wait->flags, wait->object_kind);
	like.subject = wait->chain.done.subject;
	like.ns = wait->like_ns +
		  at_after(at_chain_begin(&wait->chain.cause, wait->waking_ns), wait->out_ns);
	like.waits = wait->like_waits + 1;
	return like;
}

AT_INLINE struct at_like at_like_of_now(const struct at_thread *thread,
					const struct at_ending *ending)
{
	const struct at_chain *chain = &thread->wake.chain;
	struct at_like like = {
		.likeness = at_likeness(chain, ending->flags, thread->object_kind),
		.subject = chain->done.subject,
		.ns = at_after(at_chain_begin(&chain->cause, ending->waking_ns), thread->out_ns),
		.waits = 1,
	};

	return like;
}

/* Within the newest step, so that every step that is open holds both waits. */
AT_INLINE void at_leave_to_like(struct at_thread *thread, const struct at_like *like)
{
	volatile struct at_search *search = &thread->search;
	struct at_wait *heir;
	__u32 index;

	search->found = AT_WAITS;
	for (index = 0; index < AT_WAITS; index++) {
		const struct at_wait *wait = &thread->waits[index];

		if (wait->in_ns > thread->newest_step_ns &&
		    at_likeness(&wait->chain, wait->flags, wait->object_kind) == like->likeness &&
		    (!wait->chain.done.kind || wait->chain.done.subject == like->subject))
			search->found = index;
	}
	index = search->found;
	if (index >= AT_WAITS)
		return;
	heir = &thread->waits[at_bounded(index, AT_WAITS)];
	heir->like_ns += like->ns;
	heir->like_waits += like->waits;
}

/*
 * Runs again. Returns the slot of this wait when an open step may want it: at least `floor_ns`
 * long, and among the longest; the caller adds the holder with at_wait_holder(). Else NULL; so
 * too for a thread that was not seen to leave.
 */
AT_INLINE struct at_wait *at_thread_in(struct at_thread *thread, const struct at_cpu *cpu,
				       __u64 floor_ns, struct at_stamp now)
{
	__u64 reached_ns = at_thread_reached(thread);
	struct at_wait *slot = NULL;
	struct at_ending ending;
	struct at_like like;

	if (now.now_ns < reached_ns)
		now.now_ns = reached_ns;
	if (thread->state == AT_RUNNING) {
		thread->total_ns[AT_UNSEEN] += now.now_ns - reached_ns;
		thread->cpu = cpu->id;
		at_thread_mark(thread, cpu, now);
		return NULL;
	}
	ending = at_how_ended(thread, now.now_ns);
	if (thread->wake.waking_ns && !ending.waking_ns)
		thread->counts.coalesced++;
	at_charge_wait(thread, &ending);
	thread->counts.waits++;
	thread->counts.migrations += thread->cpu != cpu->id;
	if (ending.queue_cpu != cpu->id)
		ending.flags |= AT_WAIT_MIGRATED;
	if (thread->open_steps && now.now_ns - thread->out_ns >= floor_ns) {
		slot = at_wait_slot(thread, now.now_ns - thread->out_ns);
		like = slot ? at_like_of_slot(slot, thread->newest_step_ns) :
			      at_like_of_now(thread, &ending);
		if (slot)
			at_fill_wait(slot, thread, cpu, &ending);
		if (like.likeness)
			at_leave_to_like(thread, &like);
	}
	thread->wake.waking_ns = 0;
	thread->state = AT_RUNNING;
	thread->resuming = ending.flags & AT_WAIT_BLOCKED;
	thread->cpu = cpu->id;
	at_thread_mark(thread, cpu, now);
	return slot;
}

/*
 * It runs, but its switch-in was not seen: some kernels leave out a few switches, most from idle.
 * The waking is known all the same, and the wait ends with what is known of it.
 */
AT_ONCE int at_thread_resync(struct at_thread *thread, const struct at_cpu *cpu, __u64 now_ns)
{
	struct at_stamp now = {};
	struct at_ending ending;

	if (!thread || !cpu || thread->state != AT_BLOCKED)
		return 0;
	ending = at_how_ended(thread, now_ns);
	if (!ending.waking_ns)
		return 0;
	now.now_ns = ending.wakeup_ns ? ending.wakeup_ns : ending.waking_ns;
	now.hardirq_ns = cpu->hardirq_ns;
	at_thread_in(thread, cpu, 0, now);
	return 1;
}

/*
 * Bring the totals up to now, for a thread that runs on `cpu`. Returns when `now` is for this
 * thread: a thread's time never steps back, even where CPUs' clocks disagree. Where it should not
 * run, a switch was missed: what it did since is not known, but for a wait that ended meanwhile.
 */
AT_INLINE struct at_stamp at_thread_account(struct at_thread *thread, const struct at_cpu *cpu,
					    struct at_stamp now)
{
	if (now.now_ns < at_thread_reached(thread))
		now.now_ns = at_thread_reached(thread);
	if (thread->state == AT_RUNNING && thread->cpu == cpu->id) {
		struct at_run run = at_run_since(thread, cpu, now);

		thread->total_ns[at_bounded(thread->mode, AT_BUCKETS)] += run.own_ns;
		thread->total_ns[AT_STOLEN_HARDIRQ] += run.hardirq_ns;
		thread->total_ns[AT_STOLEN_SOFTIRQ] += run.softirq_ns;
	} else {
		at_thread_resync(thread, cpu, now.now_ns);
		thread->total_ns[AT_UNSEEN] += now.now_ns - at_thread_reached(thread);
		thread->state = AT_RUNNING;
		thread->cpu = cpu->id;
	}
	at_thread_mark(thread, cpu, now);
	return now;
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
	now = at_thread_account(thread, cpu, now);
	thread->out_ns = now.now_ns;
	/* A waker on another CPU may look: never at a new state with an old time. */
	__asm__ volatile("" : : : "memory");
	thread->state = flags & AT_WAIT_BLOCKED ? AT_BLOCKED : AT_RUNNABLE;
	thread->out_flags = flags;
	thread->out_hardirq_ns = now.hardirq_ns;
	thread->out_softirq_ns = cpu->softirq_ns;
	thread->cpu = cpu->id;
	thread->object_kind = AT_NO_OBJECT;
	thread->syscall = -1;
}

/* Who held the CPU while the thread was runnable; `history` is that of wait->queue_cpu. */
AT_INLINE void at_wait_holder(struct at_wait *wait, const struct at_history *history)
{
	__u64 from = wait->out_ns;

	if (wait->flags & AT_WAIT_NO_WAKING)
		from = wait->in_ns;
	else if (wait->waking_ns)
		from = wait->wakeup_ns ? wait->wakeup_ns : wait->waking_ns;
	at_find_holder(history, from, wait->in_ns, &wait->holder);
	wait->holder.cpu = wait->queue_cpu;
}

#endif
