/* SPDX-License-Identifier: GPL-2.0-only */
/* Who ran on one CPU lately, and what interrupted them most. Part of stages.h. */
#ifndef AGENTTUNE_HISTORY_H
#define AGENTTUNE_HISTORY_H

#include "frames.h"

/* A power of two. A wait that spans more turns than this knows only the last ones. */
#define AT_TURNS 16

/*
 * Weighted majority vote (Boyer and Moore, 1981): if one interrupt took more than half of the
 * time, it is this one. `weight_ns` is the vote's balance, not a time to report.
 */
struct at_majority {
	__u64 weight_ns;
	__u32 irq; /* the IRQ (or the raising one); AT_NO_IRQ: not an interrupt */
	__u32 vector; /* softirq vector + 1; 0: a hardirq */
};

#define AT_NO_IRQ (~0U)

/* One task's turn; it ends where the next one starts. tid 0 is idle. */
struct at_past_turn {
	__u64 start_ns;
	__u64 comm[AT_COMM_WORDS];
	__u32 tid;
	__u32 pad;
	struct at_majority softirq;
	struct at_majority hardirq;
};

struct at_history {
	__u64 turns;
	struct at_past_turn past[AT_TURNS];
};

/* Who held a CPU in a window: `seen_ns` of it is known, `held_ns` went to `tid`. */
struct at_holder {
	__u64 held_ns;
	__u64 seen_ns;
	__u64 idle_ns;
	__u64 comm[AT_COMM_WORDS];
	__u32 tid;
	__u32 cpu;
	struct at_majority softirq;
	struct at_majority hardirq;
};

AT_INLINE void at_vote(struct at_majority *votes, __u32 irq, __u32 vector, __u64 ns)
{
	if (votes->irq == irq && votes->vector == vector) {
		votes->weight_ns += ns;
	} else if (ns > votes->weight_ns) {
		votes->irq = irq;
		votes->vector = vector;
		votes->weight_ns = ns - votes->weight_ns;
	} else {
		votes->weight_ns -= ns;
	}
}

AT_INLINE struct at_past_turn *at_this_turn(struct at_history *history)
{
	return &history->past[at_bounded(history->turns - 1, AT_TURNS)];
}

AT_INLINE void at_history_switch(struct at_history *history, __u32 tid, const __u64 *comm,
				 __u64 now_ns)
{
	struct at_past_turn *turn;

	history->turns++;
	turn = at_this_turn(history);
	turn->start_ns = now_ns;
	turn->tid = tid;
	turn->comm[0] = comm[0];
	turn->comm[1] = comm[1];
	turn->softirq.weight_ns = 0;
	turn->hardirq.weight_ns = 0;
}

/* A hardirq's own time. */
AT_INLINE void at_history_hardirq(struct at_history *history, __u32 irq, __u64 self_ns)
{
	at_vote(&at_this_turn(history)->hardirq, irq, 0, self_ns);
}

/* A softirq's own time, by the interrupt that raised it. */
AT_INLINE void at_history_softirq(struct at_history *history, const struct at_cause *cause,
				  __u32 vector, __u64 self_ns)
{
	__u32 irq = cause->flags & AT_CAUSE_IRQ ? cause->irq : AT_NO_IRQ;

	at_vote(&at_this_turn(history)->softirq, irq, vector + 1, self_ns);
}

/*
 * Comparisons without branches, for numbers below 2^63: each branch that a verifier follows doubles
 * its work, and the split of a wait made it take 60 000 steps and 5 s. at_sign() is all ones for a
 * negative number, and opaque to compilers, which would make branches of it again.
 */
AT_INLINE __u64 at_sign(__s64 number)
{
	__u64 sign = number >> 63;

	__asm__("" : "+r"(sign));
	return sign;
}

AT_INLINE __u64 at_positive(__s64 number)
{
	return number & ~at_sign(number);
}

AT_INLINE __u64 at_lesser(__u64 one, __u64 other)
{
	return one - at_positive(one - other);
}

AT_INLINE __u64 at_greater(__u64 one, __u64 other)
{
	return other + at_positive(one - other);
}

AT_INLINE __u64 at_overlap(__u64 from, __u64 to, __u64 start, __u64 end)
{
	return at_positive(at_lesser(end, to) - at_greater(start, from));
}

/*
 * The longest turn in [from, to), then everything its task got there. Unused slots begin at 0 and
 * end the search. What is found stays in memory: a verifier that follows it as a number through
 * both loops takes millions of steps.
 */
AT_INLINE void at_find_holder(const struct at_history *history, __u64 from, __u64 to,
			      struct at_holder *holder)
{
	__u64 best_ns = 0, end = to;
	__u32 newest = history->turns - 1, index;

	holder->held_ns = 0;
	holder->seen_ns = 0;
	holder->idle_ns = 0;
	holder->tid = 0;
	holder->softirq.weight_ns = 0;
	holder->hardirq.weight_ns = 0;
	AT_UNROLL
	for (index = 0; index < AT_TURNS; index++) {
		const struct at_past_turn *turn;
		__u64 ns;

		turn = &history->past[at_bounded(newest - index, AT_TURNS)];
		if (end <= from || !turn->start_ns)
			break;
		ns = at_overlap(from, to, turn->start_ns, end);
		holder->seen_ns += ns;
		end = at_lesser(end, turn->start_ns);
		if (!turn->tid) {
			holder->idle_ns += ns;
		} else if (ns > best_ns) {
			best_ns = ns;
			holder->tid = turn->tid;
			holder->comm[0] = turn->comm[0];
			holder->comm[1] = turn->comm[1];
			holder->softirq = turn->softirq;
			holder->hardirq = turn->hardirq;
		}
	}
	end = to;
	AT_UNROLL
	for (index = 0; index < AT_TURNS; index++) {
		const struct at_past_turn *turn;

		turn = &history->past[at_bounded(newest - index, AT_TURNS)];
		if (end <= from || !turn->start_ns)
			break;
		if (turn->tid && turn->tid == holder->tid)
			holder->held_ns += at_overlap(from, to, turn->start_ns, end);
		end = at_lesser(end, turn->start_ns);
	}
}

#endif
