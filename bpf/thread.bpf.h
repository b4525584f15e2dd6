/* SPDX-License-Identifier: GPL-2.0-only */
/* Wakings and switches of the watched threads, and of the kernel threads that serve them. */
#ifndef AGENTTUNE_THREAD_BPF_H
#define AGENTTUNE_THREAD_BPF_H

#include "core.bpf.h"
#include "object.bpf.h"

/*
 * Runnable and not on a CPU: woken before, and that waking is why it will run. A delayed dequeue
 * (v6.12, 152e11f6df29) leaves a sleeper on its queue.
 */
static __always_inline bool is_queued(struct task_struct *task)
{
	if (AT_HAS(sched_entity, sched_delayed) &&
	    AT_READ_IN(task, task_struct, se, sched_entity, sched_delayed))
		return false;
	return AT_READ(task, task_struct, on_rq) && !AT_READ(task, task_struct, on_cpu);
}

/* A kernel thread carries on what wakes it. */
static __always_inline void hand_on(struct at_core *core, struct task_struct *task, __u64 now_ns)
{
	struct at_cause *cause;

	if (is_ksoftirqd(task) || is_queued(task))
		return;
	cause = at_thread_make(conduits, task);
	if (cause)
		*cause = cause_for(&core->frames, task, now_ns);
}

static __always_inline struct at_thread *watched(struct at_core *core, struct task_struct *task)
{
	struct at_thread *thread = thread_of(task);

	return thread || !is_agent(task) ? thread : new_thread(core, task);
}

/* The task below any interrupt, and the chain that a kernel thread carries on. */
static __always_inline void set_task(struct at_core *core, struct task_struct *task)
{
	const struct at_cause *cause = NULL;
	__u32 tid = AT_READ(task, task_struct, pid), flags = 0;

	if (tid && AT_READ(task, task_struct, flags) & AT_PF_KTHREAD) {
		flags = AT_TASK_KTHREAD;
		if (is_ksoftirqd(task))
			flags |= AT_TASK_KSOFTIRQD;
		else
			cause = at_thread_get(conduits, task);
	}
	at_task(&core->frames, tid, flags, cause);
}

/* A switch that the kernel made without its tracepoint: another task runs than was seen to. */
static __always_inline void correct_task(struct at_core *core, __u64 now_ns)
{
	struct task_struct *task = at_current();
	__u32 tid = AT_READ(task, task_struct, pid);
	struct at_comm comm;

	if (tid == core->frames.task.tid)
		return;
	core->tally.missed_switches += core->history.turns != 0;
	core->frames.id = bpf_get_smp_processor_id();
	comm = comm_of(task);
	at_history_switch(&core->history, tid, comm.words, now_ns);
	set_task(core, task);
}

/* `exact`: see in_hardirq(). */
static __always_inline void begin_waking(struct task_struct *task, bool exact)
{
	struct at_core *core = open_core();
	struct task_struct *waker;
	struct at_thread *thread;
	bool is_kthread, hidden;
	struct at_comm comm;
	__u32 coalesced;
	__u64 now_ns;

	if (!core)
		return;
	is_kthread = AT_READ(task, task_struct, flags) & AT_PF_KTHREAD;
	thread = watched(core, task);
	if (!thread && !is_kthread)
		return;
	now_ns = bpf_ktime_get_ns();
	correct_task(core, now_ns);
	if (is_kthread)
		hand_on(core, task, now_ns);
	if (!thread)
		return;
	hidden = exact && !core->frames.depth && in_hardirq();
	waker = at_current();
	comm = comm_of(waker);
	coalesced = thread->counts.coalesced;
	at_thread_waking(thread, &core->frames, hidden, AT_READ(waker, task_struct, pid),
			 comm.words, now_ns);
	core->tally.coalesced += thread->counts.coalesced - coalesced;
}

static __always_inline void end_waking(struct task_struct *task)
{
	struct at_thread *thread = open_core() ? thread_of(task) : NULL;
	struct at_core *target;
	__u32 zero = 0, cpu;

	if (!thread || !at_wakeup_matters(thread))
		return;
	cpu = AT_READ_IN(task, task_struct, thread_info, thread_info, cpu);
	target = at_lookup_percpu(cores, &zero, cpu);
	if (target)
		at_thread_wakeup(thread, &target->frames, throttled(task), bpf_ktime_get_ns());
}

/* A kernel thread may come after the softirq, or before it. */
static __always_inline void record_chain(const struct at_cause *cause, __u64 waking_ns)
{
	__u64 thread_ns = cause->thread_ns ? cause->thread_ns : waking_ns;
	__u64 raise_ns = cause->raise_ns ? cause->raise_ns : thread_ns;

	if (cause->irq_ns)
		record_leg(AT_LEG_HARDIRQ, at_after(at_lesser(raise_ns, thread_ns), cause->irq_ns));
	if (cause->entry_ns) {
		record_leg(AT_LEG_PENDING, at_after(cause->entry_ns, raise_ns));
		if (thread_ns < cause->entry_ns)
			thread_ns = waking_ns;
		record_leg(AT_LEG_SOFTIRQ, at_after(thread_ns, cause->entry_ns));
	}
	if (cause->thread_ns)
		record_leg(AT_LEG_THREAD,
			   at_after(cause->raise_ns > cause->thread_ns ? raise_ns : waking_ns,
				    cause->thread_ns));
}

/* Whether open steps share the thread and at least one has no socket of its own. */
static __always_inline bool is_ambiguous(const struct at_thread *thread)
{
	if (thread->open_steps < 2)
		return false;
	for (__u32 i = 0; i < AT_STEPS; i++) {
		const struct at_step *step = &thread->steps[i];

		if (step->id && step->flags & AT_STEP_INTERLEAVED && !(step->flags & AT_STEP_BOUND))
			return true;
	}
	return false;
}

/* A blocked wait ends; before at_thread_in(), which forgets the waking. */
static __always_inline void count_completion(struct at_core *core, const struct at_thread *thread,
					     __u64 now_ns)
{
	const struct at_chain *chain = &thread->wake.chain;
	struct at_ending ending = at_how_ended(thread, now_ns);

	if (!ending.waking_ns || !chain->cause.flags)
		core->tally.unattributed++;
	else if (is_ambiguous(thread))
		core->tally.ambiguous++;
	else
		core->tally.matched++;
	if (!ending.waking_ns)
		return;
	record_chain(&chain->cause, ending.waking_ns);
	if (chain->done.kind)
		record_leg(AT_LEG_COMPLETION, at_after(ending.waking_ns, chain->done.done_ns));
	record_leg(AT_LEG_WAKEUP_TO_RUN, now_ns - ending.waking_ns);
	if (!ending.wakeup_ns)
		return;
	record_leg(AT_LEG_WAKE_IPI, ending.wakeup_ns - ending.waking_ns);
	record_leg(AT_LEG_RUN_QUEUE, now_ns - ending.wakeup_ns);
}

static __always_inline void see_thread(struct at_core *core, struct at_thread *thread,
				       struct task_struct *task, struct at_stamp now)
{
	at_thread_seen(thread, &core->frames, AT_READ(task, task_struct, pid),
		       AT_READ(task, task_struct, tgid), now);
}

static __always_inline void leave_cpu(struct at_core *core, struct task_struct *prev, bool preempt,
				      struct at_stamp now)
{
	struct at_thread *thread = thread_of(prev);

	if (!thread)
		return;
	if (thread->state == AT_NEW)
		see_thread(core, thread, prev, now);
	at_thread_blame(thread, at_this_turn(&core->history));
	at_thread_out(thread, &core->frames, out_flags(prev, preempt), now);
}

static __always_inline void enter_cpu(struct at_core *core, struct task_struct *next,
				      struct at_stamp now)
{
	struct at_thread *thread = thread_of(next);
	struct at_core *queue;
	struct at_wait *slot;
	__u32 zero = 0, coalesced;

	if (!thread)
		return;
	if (thread->state == AT_NEW) {
		see_thread(core, thread, next, now);
		return;
	}
	if (thread->state == AT_BLOCKED) {
		count_completion(core, thread, now.now_ns);
		if (thread->open_steps && now.now_ns - thread->out_ns >= WAIT_FLOOR_NS)
			note_object(thread, next);
	}
	coalesced = thread->counts.coalesced;
	slot = at_thread_in(thread, &core->frames, WAIT_FLOOR_NS, now);
	core->tally.coalesced += thread->counts.coalesced - coalesced;
	if (!slot)
		return;
	queue = at_lookup_percpu(cores, &zero, slot->queue_cpu);
	if (queue)
		at_wait_holder(slot, &queue->history);
}

static __always_inline void switch_threads(struct task_struct *prev, struct task_struct *next,
					   bool preempt)
{
	struct at_core *core = open_core();
	struct at_comm comm;
	struct at_stamp now;
	__u64 now_ns;
	__u32 tid;

	if (!core)
		return;
	now_ns = bpf_ktime_get_ns();
	tid = AT_READ(next, task_struct, pid);
	core->frames.id = bpf_get_smp_processor_id();
	/* Some kernels switch now and then without a word (seen: 1 in 1000 of a 6.18 guest's). */
	core->tally.switches++;
	if (core->history.turns && core->frames.task.tid != (__u32)AT_READ(prev, task_struct, pid))
		core->tally.missed_switches++;
	if (at_switch_matters(&core->frames))
		at_switch(&core->frames, AT_READ(prev, task_struct, pid), tid, now_ns);
	now = at_stamp(&core->frames, now_ns);
	leave_cpu(core, prev, preempt, now);
	enter_cpu(core, next, now);
	comm = comm_of(next);
	at_history_switch(&core->history, tid, comm.words, now_ns);
	set_task(core, next);
}

/* The window opens in the middle of a turn. */
static __always_inline void seed_core(void)
{
	struct task_struct *task = at_current();
	struct at_core *core = open_core();
	struct at_thread *thread;
	struct at_comm comm;

	if (!core)
		return;
	comm = comm_of(task);
	core->frames.id = bpf_get_smp_processor_id();
	at_history_switch(&core->history, AT_READ(task, task_struct, pid), comm.words,
			  bpf_ktime_get_ns());
	set_task(core, task);
	thread = watched(core, task);
	if (thread && thread->state == AT_NEW)
		see_thread(core, thread, task, stable_stamp(&core->frames));
}

#endif
