/* SPDX-License-Identifier: GPL-2.0-only */
/* Steps: an interval of one thread's totals, between two marks. Part of stages.h. */
#ifndef AGENTTUNE_STEP_H
#define AGENTTUNE_STEP_H

#include "thread.h"

/* at_step.flags and at_step_record.flags */
enum {
	AT_STEP_OVERLAPPED = 1, /* another step was open on the thread at some time */
	AT_STEP_INTERLEAVED = 2, /* and neither held the other: they shared the thread */
	AT_STEP_BOUND = 4, /* a socket is bound to it */
	AT_STEP_READY = 8, /* its socket became readable: `ready` is set */
};

/* The last completion of a bound socket. */
struct at_ready {
	__u64 step_id;
	__u64 cookie;
	__u64 ready_ns;
	__u32 tgid;
	__u32 count;
	struct at_chain chain;
};

struct at_step_record {
	__u64 id;
	__u64 begin_ns;
	__u64 end_ns;
	__u64 deadline_ns;
	__u64 name[AT_STEP_NAME_WORDS];
	__u64 comm[AT_COMM_WORDS];
	__u32 tid;
	__u32 tgid;
	__u32 budget_us;
	__u16 kind;
	__u16 flags;
	__u64 buckets_ns[AT_BUCKETS];
	struct at_counts counts;
	__u32 cpu;
	__u32 waits; /* records of waits that follow this one */
	struct at_majority stolen_softirq;
	struct at_majority stolen_hardirq;
	struct at_ready ready;
};

AT_INLINE struct at_counts at_counted(struct at_counts now, struct at_counts base)
{
	now.waits -= base.waits;
	now.preemptions -= base.preemptions;
	now.migrations -= base.migrations;
	now.faults -= base.faults;
	now.coalesced -= base.coalesced;
	now.unattributed -= base.unattributed;
	return now;
}

/* 1 or 0, without a branch: eight of them in a row are many paths to a verifier. */
AT_INLINE __u16 at_is_set(__u64 number)
{
	__u64 negative = -number;

	__asm__ volatile("" : "+r"(negative));
	return (number | negative) >> 63;
}

AT_INLINE void at_note_open(struct at_thread *thread)
{
	/* at_lesser() takes numbers below 2^63. */
	__u64 oldest_ns = AT_UNKNOWN >> 1, newest_ns = 0;
	__u32 index, open = 0;

	for (index = 0; index < AT_STEPS; index++)
		if (thread->steps[index].id) {
			open++;
			oldest_ns = at_lesser(oldest_ns, thread->steps[index].begin_ns);
			if (newest_ns < thread->steps[index].begin_ns)
				newest_ns = thread->steps[index].begin_ns;
		}
	thread->open_steps = open;
	thread->oldest_step_ns = oldest_ns;
	thread->newest_step_ns = newest_ns;
}

/* Every open step now shares the thread; the one that begins does too, when any was open. */
AT_INLINE __u16 at_note_overlap(struct at_thread *thread, __u32 lane)
{
	__u16 flags = 0;
	__u32 index;

	for (index = 0; index < AT_STEPS; index++) {
		struct at_step *step = &thread->steps[index];
		__u16 open = at_is_set(step->id);
		__u16 apart = open & at_is_set(step->lane) & at_is_set(lane) &
			      at_is_set(step->lane ^ lane);

		open = open * AT_STEP_OVERLAPPED | apart * AT_STEP_INTERLEAVED;
		step->flags |= open;
		flags |= open;
	}
	return flags;
}

/*
 * Where a search through the steps leaves what it has found: in memory, and not in a register, so
 * that the BPF verifier goes once through what follows (v6.1 gives up at a million instructions).
 */
AT_INLINE volatile __u16 *at_slot(struct at_thread *thread)
{
	return &thread->slot;
}

/*
 * A free slot for a step that begins now, filled but for its name; NULL: too many are open. An id
 * that is open already begins anew: its end was not seen.
 */
AT_INLINE struct at_step *at_step_begin(struct at_thread *thread, const struct at_cpu *cpu,
					__u64 id, __u16 kind, __u32 lane, struct at_stamp now)
{
	volatile __u16 *slot = at_slot(thread);
	struct at_step *step;
	__u32 index, found;
	__u16 flags;

	*slot = AT_STEPS;
	for (index = 0; index < AT_STEPS; index++) {
		if (thread->steps[index].id == id)
			thread->steps[index].id = 0;
		if (!thread->steps[index].id)
			*slot = index;
	}
	found = *slot;
	if (found >= AT_STEPS || !id)
		return NULL;
	if (!thread->open_steps) {
		thread->stolen_softirq.weight_ns = 0;
		thread->stolen_hardirq.weight_ns = 0;
	}
	flags = at_note_overlap(thread, lane);
	now = at_thread_account(thread, cpu, now);
	step = &thread->steps[at_bounded(found, AT_STEPS)];
	step->id = id;
	step->begin_ns = now.now_ns;
	step->kind = kind;
	step->flags = flags;
	step->lane = lane;
	step->cookie = 0;
	step->base = thread->counts;
	for (index = 0; index < AT_BUCKETS; index++)
		step->base_ns[index] = thread->total_ns[index];
	at_note_open(thread);
	return step;
}

AT_INLINE struct at_step *at_step_find(struct at_thread *thread, __u64 id)
{
	volatile __u16 *slot = at_slot(thread);
	__u32 index, found;

	*slot = AT_STEPS;
	for (index = 0; index < AT_STEPS; index++)
		if (thread->steps[index].id == id)
			*slot = index;
	found = *slot;
	if (found >= AT_STEPS || !id)
		return NULL;
	return &thread->steps[at_bounded(found, AT_STEPS)];
}

/* A step that ends while one that began later stays open was not around it: both shared. */
AT_INLINE void at_note_interleaving(struct at_thread *thread, struct at_step *ending)
{
	__u32 index;

	for (index = 0; index < AT_STEPS; index++) {
		struct at_step *step = &thread->steps[index];

		if (step->id && step->begin_ns > ending->begin_ns) {
			step->flags |= AT_STEP_INTERLEAVED;
			ending->flags |= AT_STEP_INTERLEAVED;
		}
	}
}

/*
 * A bound step among others: its own completion splits it, not the thread's waits, which belong
 * to all of them. From its socket's readiness on, it waits for the thread.
 */
AT_INLINE void at_split_ready(const struct at_ready *ready, __u64 begin_ns, __u64 end_ns,
			      __u64 *buckets)
{
	__u32 index;

	for (index = 0; index < AT_BUCKETS; index++)
		buckets[index] = 0;
	at_split_blocked(&ready->chain.cause, begin_ns, ready->ready_ns, buckets);
	buckets[AT_EVENT_LOOP] = end_ns - ready->ready_ns;
}

/*
 * Ends the step and fills its record, but for comm and waits. `ready`: what its bound socket
 * brought, or NULL. The buckets sum to end_ns - begin_ns.
 */
AT_INLINE void at_step_end(struct at_thread *thread, const struct at_cpu *cpu,
			   struct at_step *step, const struct at_ready *ready, struct at_stamp now,
			   struct at_step_record *record)
{
	__u32 index;

	now = at_thread_account(thread, cpu, now);
	at_note_interleaving(thread, step);
	record->id = step->id;
	record->begin_ns = step->begin_ns;
	record->end_ns = now.now_ns;
	record->deadline_ns = step->deadline_ns;
	record->budget_us = step->budget_us;
	record->kind = step->kind;
	record->flags = step->flags;
	record->tid = thread->tid;
	record->tgid = thread->tgid;
	record->cpu = cpu->id;
	for (index = 0; index < AT_STEP_NAME_WORDS; index++)
		record->name[index] = step->name[index];
	for (index = 0; index < AT_BUCKETS; index++)
		record->buckets_ns[index] = thread->total_ns[index] - step->base_ns[index];
	record->counts = at_counted(thread->counts, step->base);
	record->stolen_softirq = thread->stolen_softirq;
	record->stolen_hardirq = thread->stolen_hardirq;
	record->ready.ready_ns = 0;
	record->ready.count = 0;
	if (ready && ready->ready_ns > step->begin_ns && ready->ready_ns <= now.now_ns) {
		record->flags |= AT_STEP_READY;
		record->ready = *ready;
		if (step->flags & AT_STEP_INTERLEAVED)
			at_split_ready(ready, step->begin_ns, now.now_ns, record->buckets_ns);
	}
	step->id = 0;
	at_note_open(thread);
}

/* What stole most from the turn that the step ended in; others are blamed at their switch. */
AT_INLINE void at_step_blame(struct at_step_record *record, const struct at_past_turn *turn)
{
	if (turn->softirq.weight_ns)
		at_vote(&record->stolen_softirq, turn->softirq.irq, turn->softirq.vector,
			turn->softirq.weight_ns);
	if (turn->hardirq.weight_ns)
		at_vote(&record->stolen_hardirq, turn->hardirq.irq, 0, turn->hardirq.weight_ns);
}

/* Whether this wait belongs to the record's interval. */
AT_INLINE int at_wait_within(const struct at_wait *wait, const struct at_step_record *record)
{
	return wait->in_ns > record->begin_ns && wait->out_ns < record->end_ns &&
	       wait->out_ns < wait->in_ns;
}

#endif
