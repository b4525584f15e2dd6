/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The frames on one CPU: interrupt events in, times and causes out. Part of stages.h.
 *
 * One CPU's frames are, from the bottom: a task, at most one softirq, and hardirqs. Every frame's
 * own time excludes what interrupted it. All calls for one struct at_cpu come from its CPU.
 *
 * A hardirq may land inside any of these functions except those that run with interrupts off
 * (hardirq, raise and switch events). Only hardirq events write hardirq_ns, and a hardirq's events
 * balance; so softirq and task frames keep times in slots of their own and subtract the difference
 * of hardirq_ns between two consistent stamps, instead of adding to a shared stack.
 */
#ifndef AGENTTUNE_FRAMES_H
#define AGENTTUNE_FRAMES_H

#include "cause.h"

/* NR_SOFTIRQS (include/linux/interrupt.h, v6.12). */
#define AT_SOFTIRQS 10
#define AT_SOFTIRQ_SLOTS 16
/* NET_RX_SOFTIRQ, of the same enum. */
#define AT_NET_RX 3
/* Hardirqs nest only where one handler dispatches another (chained GPIO or mux controllers). */
#define AT_HARDIRQ_FRAMES 4

/* The context that runs now; AT_SOFTIRQ + n is softirq vector n. */
enum at_context { AT_TASK, AT_IDLE, AT_HARDIRQ, AT_SOFTIRQ };
#define AT_CONTEXTS (AT_SOFTIRQ + AT_SOFTIRQS)

/* A clock reading together with the hardirq time that had passed by then. */
struct at_stamp {
	__u64 now_ns;
	__u64 hardirq_ns;
};

struct at_hardirq_frame {
	__u64 start_ns;
	__u64 nested_ns;
	__u32 id;
	__u32 pad;
	struct at_completion done;
};

/* `vector` is the softirq vector + 1; 0 means that the slot is empty. */
struct at_softirq_frame {
	struct at_stamp start;
	__u64 earlier_ns;
	__u32 vector;
	__u32 task;
	struct at_cause cause;
	struct at_completion done;
};

/*
 * The task below any interrupt. `cause` is why a kernel thread runs: the chain that woke it, or
 * nothing (all 0). Front-ends set it at each switch with at_task().
 */
struct at_task_frame {
	__u32 tid;
	__u32 flags;
	struct at_cause cause;
	struct at_completion done;
};

/* A watched task's turn on the CPU. */
struct at_turn {
	struct at_stamp start;
	__u64 softirq_ns;
};

struct at_cpu {
	__u64 hardirq_ns;
	__u64 softirq_ns;
	__u64 unpaired;
	__u32 depth;
	__u32 id;
	struct at_task_frame task;
	struct at_hardirq_frame hardirqs[AT_HARDIRQ_FRAMES];
	/* The hardirq that ended last, until anything else begins; last_irq_ns 0: none. */
	__u64 last_irq_ns;
	__u32 last_irq;
	__u32 pad;
	struct at_softirq_frame softirq;
	/* PREEMPT_RT: the softirq of a task that was switched out in the middle of it. */
	struct at_softirq_frame parked;
	struct at_turn turn;
	/* Raised and not yet entered: the one of this round, and one raised after its snapshot. */
	struct at_cause raised[AT_SOFTIRQ_SLOTS];
	struct at_cause raised_next[AT_SOFTIRQ_SLOTS];
};

/* An index below `size`, a power of two, by a mask that compilers keep: the BPF verifier asks. */
AT_INLINE __u32 at_bounded(__u32 index, __u32 size)
{
	__asm__ volatile("" : "+r"(index));
	return index & (size - 1);
}

/*
 * Never negative: ktime_get_mono_fast_ns(), the clock of BPF, may step back a little when the
 * timekeeper updates (kernel/time/timekeeping.c, v6.12).
 */
AT_INLINE __u64 at_after(__u64 now_ns, __u64 then_ns)
{
	return now_ns > then_ns ? now_ns - then_ns : 0;
}

/* Time from start to now without hardirqs. */
AT_INLINE __u64 at_elapsed(struct at_stamp start, struct at_stamp now)
{
	return at_after(at_after(now.now_ns, start.now_ns), now.hardirq_ns - start.hardirq_ns);
}

/* A stamp for callers that run with interrupts off; others must retry until it is consistent. */
AT_INLINE struct at_stamp at_stamp(const struct at_cpu *cpu, __u64 now_ns)
{
	struct at_stamp stamp = { .now_ns = now_ns, .hardirq_ns = cpu->hardirq_ns };

	return stamp;
}

/* Where hardirqs cannot be, their frames are left over from exits that were never seen. */
AT_INLINE void at_drop_hardirqs(struct at_cpu *cpu)
{
	cpu->unpaired += cpu->depth;
	cpu->depth = 0;
}

AT_INLINE void at_hardirq_enter(struct at_cpu *cpu, __u32 id, __u64 now_ns)
{
	struct at_hardirq_frame *frame;

	if (cpu->depth >= AT_HARDIRQ_FRAMES)
		at_drop_hardirqs(cpu);
	frame = &cpu->hardirqs[at_bounded(cpu->depth, AT_HARDIRQ_FRAMES)];
	frame->start_ns = now_ns;
	frame->nested_ns = 0;
	frame->id = id;
	frame->done.kind = AT_NO_COMPLETION;
	cpu->last_irq_ns = 0;
	cpu->depth++;
}

/* What was begun by `cause` is also interrupt `id`'s work. */
AT_INLINE void at_share(struct at_cause *cause, __u32 id)
{
	if (!(cause->flags & AT_CAUSE_IRQ) || cause->irq != id)
		cause->flags |= AT_CAUSE_SHARED;
}

/*
 * An interrupt came while NET_RX ran. ____napi_schedule() raises nothing then, and net_rx_action()
 * polls for it in the same round (net/core/dev.c, v6.4 and later): what follows may be its work.
 */
AT_INLINE void at_softirq_join(struct at_cpu *cpu, __u32 id)
{
	if (cpu->softirq.vector == AT_NET_RX + 1)
		at_share(&cpu->softirq.cause, id);
}

/* The handler's own time, or AT_UNKNOWN for an exit without an entry. */
AT_INLINE __u64 at_hardirq_exit(struct at_cpu *cpu, __u32 id, __u64 now_ns)
{
	struct at_hardirq_frame *frame = NULL;
	__u32 depth = cpu->depth, index, found = AT_HARDIRQ_FRAMES;
	__u64 wall_ns;

	for (index = 0; index < AT_HARDIRQ_FRAMES; index++)
		if (index < depth && cpu->hardirqs[index].id == id)
			found = index;
	if (found >= AT_HARDIRQ_FRAMES) {
		cpu->unpaired++;
		return AT_UNKNOWN;
	}
	cpu->unpaired += depth - 1 - found;
	cpu->depth = found;
	frame = &cpu->hardirqs[at_bounded(found, AT_HARDIRQ_FRAMES)];
	wall_ns = at_after(now_ns, frame->start_ns);
	if (found)
		cpu->hardirqs[at_bounded(found - 1, AT_HARDIRQ_FRAMES)].nested_ns += wall_ns;
	else
		cpu->hardirq_ns += wall_ns;
	if (!found)
		at_softirq_join(cpu, id);
	cpu->last_irq_ns = frame->start_ns;
	cpu->last_irq = id;
	return at_after(wall_ns, frame->nested_ns);
}

/* Why the code that runs now runs; raise_ns is 0 unless a softirq's raise is part of it. */
AT_INLINE struct at_cause at_cause_now(const struct at_cpu *cpu)
{
	struct at_cause cause = {};

	if (cpu->depth) {
		const struct at_hardirq_frame *frame;

		frame = &cpu->hardirqs[at_bounded(cpu->depth - 1, AT_HARDIRQ_FRAMES)];
		cause.irq_ns = frame->start_ns;
		cause.irq = frame->id;
		cause.irq_cpu = cpu->id;
		cause.flags = AT_CAUSE_IRQ;
		return cause;
	}
	if (cpu->softirq.vector)
		return cpu->softirq.cause;
	if (cpu->task.cause.flags)
		return cpu->task.cause;
	cause.origin = cpu->task.tid;
	cause.flags = cpu->task.tid ? AT_CAUSE_TASK : 0;
	return cause;
}

/* When the raise was that the next entry of this vector answers; 0: none waits. */
AT_INLINE __u64 at_softirq_raised(const struct at_cpu *cpu, __u32 vector)
{
	return cpu->raised[at_bounded(vector, AT_SOFTIRQ_SLOTS)].raise_ns;
}

/*
 * An interrupt that raises a vector has put its work where the handler's next run finds it, say on the
 * CPU's list of NAPIs. That run may answer an earlier raise, of this round even where the new raise is
 * for the next: whichever entries are still to come, their chains may be this interrupt's.
 */
AT_INLINE void at_softirq_share(struct at_cpu *cpu, __u32 vector)
{
	struct at_cause *raised = &cpu->raised[at_bounded(vector, AT_SOFTIRQ_SLOTS)];
	struct at_cause *next = &cpu->raised_next[at_bounded(vector, AT_SOFTIRQ_SLOTS)];
	__u32 id;

	if (!cpu->depth)
		return;
	id = cpu->hardirqs[at_bounded(cpu->depth - 1, AT_HARDIRQ_FRAMES)].id;
	if (raised->raise_ns)
		at_share(raised, id);
	if (next->raise_ns)
		at_share(next, id);
}

/*
 * What a softirq takes over that is raised from here. A chain has one leg of each kind: one that
 * goes through a second softirq, as when net_rx_action() raises NET_RX again, keeps its interrupt's
 * name and forgets the legs up to the first raise. What the thread waited for came with the second.
 */
AT_INLINE struct at_cause at_cause_raised(const struct at_cpu *cpu, __u64 now_ns)
{
	struct at_cause cause = at_cause_now(cpu);

	if (cause.raise_ns) {
		cause.irq_ns = 0;
		if (cause.thread_ns <= cause.raise_ns)
			cause.thread_ns = 0;
	}
	cause.raise_ns = now_ns;
	cause.entry_ns = 0;
	return cause;
}

/*
 * `pending`: the vector's bit was already set, so this raise adds nothing. A raise that is not
 * pending while an earlier one still waits for its entry came after the kernel took its snapshot
 * of pending vectors (handle_softirqs, kernel/softirq.c, v6.12): it belongs to the next round.
 * When both rounds' raises still wait, the entry of the first was not seen.
 */
AT_INLINE void at_softirq_raise(struct at_cpu *cpu, __u32 vector, int pending, __u64 now_ns)
{
	struct at_cause *slot;

	if (vector >= AT_SOFTIRQS)
		return;
	vector = at_bounded(vector, AT_SOFTIRQ_SLOTS);
	at_softirq_share(cpu, vector);
	if (pending)
		return;
	if (cpu->raised_next[vector].raise_ns) {
		cpu->raised[vector] = cpu->raised_next[vector];
		cpu->unpaired++;
	}
	slot = &cpu->raised[vector];
	if (slot->raise_ns)
		slot = &cpu->raised_next[vector];
	*slot = at_cause_raised(cpu, now_ns);
}

/* Raise to entry, or AT_UNKNOWN when the raise was not seen. */
AT_INLINE __u64 at_softirq_enter(struct at_cpu *cpu, __u32 vector, struct at_stamp now)
{
	__u64 raised_ns;

	if (vector >= AT_SOFTIRQS)
		return AT_UNKNOWN;
	vector = at_bounded(vector, AT_SOFTIRQ_SLOTS);
	at_drop_hardirqs(cpu);
	if (cpu->softirq.vector)
		cpu->unpaired++;
	cpu->last_irq_ns = 0;
	cpu->softirq.start = now;
	cpu->softirq.earlier_ns = 0;
	cpu->softirq.vector = vector + 1;
	cpu->softirq.done.kind = AT_NO_COMPLETION;
	cpu->softirq.cause = cpu->raised[vector];
	cpu->softirq.cause.entry_ns = now.now_ns;
	if (cpu->task.flags & AT_TASK_KSOFTIRQD)
		cpu->softirq.cause.flags |= AT_CAUSE_KSOFTIRQD;
	raised_ns = cpu->raised[vector].raise_ns;
	cpu->raised[vector] = cpu->raised_next[vector];
	cpu->raised_next[vector].raise_ns = 0;
	if (!raised_ns) {
		cpu->softirq.cause.flags = 0;
		cpu->softirq.cause.irq_ns = 0;
		cpu->softirq.cause.thread_ns = 0;
		cpu->softirq.cause.origin = 0;
		cpu->unpaired++;
		return AT_UNKNOWN;
	}
	return at_after(now.now_ns, raised_ns);
}

/*
 * The softirq now does the work of one of the interrupts that raised it, for front-ends that know
 * which: `of` has its name, when it came and when its thread was woken. That may be after the softirq's
 * entry; 0 when it does more work for an interrupt that is long past: its name is kept, and the legs
 * before the raise are forgotten. The caller keeps the frame's cause and puts it back.
 */
AT_INLINE void at_softirq_serve(struct at_cpu *cpu, const struct at_cause *of)
{
	struct at_cause *cause = &cpu->softirq.cause;
	__u64 came_ns = of->thread_ns ? of->thread_ns : of->irq_ns;

	if (came_ns > cause->raise_ns)
		cause->raise_ns = came_ns;
	if (came_ns > cause->entry_ns)
		cause->entry_ns = came_ns;
	cause->irq_ns = of->irq_ns;
	cause->thread_ns = of->thread_ns;
	cause->irq = of->irq;
	cause->irq_cpu = of->irq_cpu;
	cause->conduit = of->conduit;
	cause->origin = 0;
	cause->flags = (of->flags & (AT_CAUSE_IRQ | AT_CAUSE_THREAD)) |
		       (cause->flags & AT_CAUSE_KSOFTIRQD);
}

/* The softirq's own time, or AT_UNKNOWN for an exit without an entry. */
AT_INLINE __u64 at_softirq_exit(struct at_cpu *cpu, __u32 vector, struct at_stamp now)
{
	__u64 self_ns;

	if (cpu->softirq.vector != vector + 1) {
		cpu->unpaired++;
		return AT_UNKNOWN;
	}
	self_ns = at_elapsed(cpu->softirq.start, now);
	cpu->softirq.vector = 0;
	cpu->softirq_ns += self_ns;
	return self_ns + cpu->softirq.earlier_ns;
}

/* Whether a switch has anything to do here; without PREEMPT_RT it normally has not. */
AT_INLINE int at_switch_matters(const struct at_cpu *cpu)
{
	return cpu->depth || cpu->softirq.vector || cpu->parked.vector;
}

/*
 * PREEMPT_RT runs softirqs in preemptible tasks, one per CPU at a time: the frame leaves with its
 * task and comes back with it. Elsewhere an open frame at a switch is one whose exit was not seen;
 * it is counted when the next one is parked.
 */
AT_INLINE void at_switch(struct at_cpu *cpu, __u32 prev, __u32 next, __u64 now_ns)
{
	struct at_stamp now;

	at_drop_hardirqs(cpu);
	now = at_stamp(cpu, now_ns);
	if (cpu->softirq.vector) {
		__u64 self_ns = at_elapsed(cpu->softirq.start, now);

		if (cpu->parked.vector)
			cpu->unpaired++;
		cpu->parked = cpu->softirq;
		cpu->parked.earlier_ns += self_ns;
		cpu->parked.task = prev;
		cpu->softirq.vector = 0;
		cpu->softirq_ns += self_ns;
	}
	if (cpu->parked.vector && cpu->parked.task == next) {
		cpu->softirq = cpu->parked;
		cpu->softirq.start = now;
		cpu->parked.vector = 0;
	}
}

AT_INLINE void at_turn_begin(struct at_cpu *cpu, struct at_stamp now)
{
	cpu->turn.start = now;
	cpu->turn.softirq_ns = cpu->softirq_ns;
}

/* How long the turn took: the task's own time, and what interrupts and softirqs took of it. */
AT_INLINE __u64 at_turn_end(const struct at_cpu *cpu, struct at_stamp now, __u64 *stolen_ns)
{
	__u64 wall_ns = at_after(now.now_ns, cpu->turn.start.now_ns);

	*stolen_ns = now.hardirq_ns - cpu->turn.start.hardirq_ns;
	*stolen_ns += cpu->softirq_ns - cpu->turn.softirq_ns;
	return at_after(wall_ns, *stolen_ns);
}

/* A new task frame. `cause`: the chain that woke it, or NULL. */
AT_INLINE void at_task(struct at_cpu *cpu, __u32 tid, __u32 flags, const struct at_cause *cause)
{
	cpu->last_irq_ns = 0;
	cpu->task.tid = tid;
	cpu->task.flags = flags;
	cpu->task.done.kind = AT_NO_COMPLETION;
	if (cause)
		cpu->task.cause = *cause;
	else
		cpu->task.cause.flags = 0;
}

/* What completes in the running frame: the next waking from this frame carries it. */
AT_INLINE void at_complete(struct at_cpu *cpu, struct at_completion done)
{
	if (cpu->depth)
		cpu->hardirqs[at_bounded(cpu->depth - 1, AT_HARDIRQ_FRAMES)].done = done;
	else if (cpu->softirq.vector)
		cpu->softirq.done = done;
	else
		cpu->task.done = done;
}

/*
 * The chain that a waking from here continues. `hidden`: the kernel says that this is a hardirq
 * although no tracepoint showed it.
 */
AT_INLINE void at_chain_now(const struct at_cpu *cpu, int hidden, struct at_chain *chain)
{
	chain->cause = at_cause_now(cpu);
	chain->vector = 0;
	chain->cpu = cpu->id;
	if (cpu->depth) {
		chain->done = cpu->hardirqs[at_bounded(cpu->depth - 1, AT_HARDIRQ_FRAMES)].done;
	} else if (hidden) {
		chain->cause.flags = AT_CAUSE_HIDDEN_IRQ;
		chain->cause.irq_ns = 0;
		chain->cause.raise_ns = 0;
		chain->cause.entry_ns = 0;
		chain->cause.thread_ns = 0;
		chain->cause.origin = 0;
		chain->done.kind = AT_NO_COMPLETION;
	} else if (cpu->softirq.vector) {
		chain->done = cpu->softirq.done;
		chain->vector = cpu->softirq.vector;
	} else {
		chain->done = cpu->task.done;
	}
}

/*
 * The cause that a kernel thread takes over when it is woken from here. Kernel threads in a row
 * are one leg; before a second one after a softirq, the chain forgets as at_cause_raised() does.
 */
AT_INLINE struct at_cause at_cause_handed(const struct at_cpu *cpu, __u32 conduit, __u64 now_ns)
{
	struct at_cause cause = at_cause_now(cpu);

	if (cause.thread_ns && cause.thread_ns < cause.entry_ns) {
		cause.irq_ns = 0;
		cause.thread_ns = 0;
	}
	if (!cause.thread_ns)
		cause.thread_ns = now_ns;
	cause.conduit = conduit;
	cause.flags |= AT_CAUSE_THREAD;
	return cause;
}

/*
 * The cause that an interrupt's own thread takes over: its handler's, which has told its exit
 * already (__handle_irq_event_percpu(), kernel/irq/handle.c, v6.12).
 */
AT_INLINE struct at_cause at_cause_threaded(const struct at_cpu *cpu, __u32 conduit, __u64 now_ns)
{
	struct at_cause cause = {};

	if (cpu->depth || !cpu->last_irq_ns)
		return at_cause_handed(cpu, conduit, now_ns);
	cause.irq_ns = cpu->last_irq_ns;
	cause.irq = cpu->last_irq;
	cause.irq_cpu = cpu->id;
	cause.thread_ns = now_ns;
	cause.conduit = conduit;
	cause.flags = AT_CAUSE_IRQ | AT_CAUSE_THREAD;
	return cause;
}

/* All interrupt time on the CPU up to now, with what runs; `now` as of another CPU is a guess. */
AT_INLINE void at_interrupts_now(const struct at_cpu *cpu, __u64 now_ns, __u64 *hardirq_ns,
				 __u64 *softirq_ns)
{
	struct at_stamp now = at_stamp(cpu, now_ns);

	if (cpu->depth)
		now.hardirq_ns += at_after(now_ns, cpu->hardirqs[0].start_ns);
	*hardirq_ns = now.hardirq_ns;
	*softirq_ns = cpu->softirq_ns;
	if (cpu->softirq.vector)
		*softirq_ns += at_elapsed(cpu->softirq.start, now);
}

/* `task` is what runs below any interrupt: AT_TASK or AT_IDLE. */
AT_INLINE __u32 at_context(const struct at_cpu *cpu, __u32 task)
{
	if (cpu->depth)
		return AT_HARDIRQ;
	if (cpu->softirq.vector)
		return AT_SOFTIRQ + cpu->softirq.vector - 1;
	return task;
}

#endif
