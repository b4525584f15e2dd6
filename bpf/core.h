/* SPDX-License-Identifier: GPL-2.0-only */
/* What `agenttune steps` keeps for each CPU and each kind; agenttune/measure/steps_layout.py. */
#ifndef AGENTTUNE_CORE_H
#define AGENTTUNE_CORE_H

#include "records.h"
#include "histogram.h"

/* The kind that a begin mark carries: other, tool, model. */
#define AT_KINDS 3

/* In the order of LEGS in agenttune/measure/trace.py. */
enum at_leg {
	AT_LEG_HARDIRQ,
	AT_LEG_PENDING,
	AT_LEG_SOFTIRQ,
	AT_LEG_COMPLETION,
	AT_LEG_THREAD,
	AT_LEG_WAKE_IPI,
	AT_LEG_RUN_QUEUE,
	AT_LEG_WAKEUP_TO_RUN,
	AT_LEG_RESUME,
	AT_LEG_HANDLER,
	AT_LEG_COUNT
};

/* See StepCoverage in agenttune/measure/trace.py; `lost`: a thread's state was not made. */
struct at_tally {
	__u64 matched;
	__u64 coalesced;
	__u64 ambiguous;
	__u64 unattributed;
	__u64 begun;
	__u64 ended;
	__u64 kept;
	__u64 refused;
	__u64 stray_ends;
	__u64 lost_records;
	__u64 bound_missed;
	__u64 switches;
	__u64 missed_switches;
	__u64 lost;
};

struct at_core {
	struct at_cpu frames;
	struct at_history history;
	struct at_tally tally;
};

/* A power of two. Thread ids that collide cost a look-up. */
#define AT_HINTS 65536

/* By thread id: whether a thread of such an id was ever watched. */
struct at_hints {
	__u8 watched[AT_HINTS];
};

/*
 * `last_ns`: a duration passes through memory on its way to its bucket, or a verifier follows each
 * of its bits back to where it comes from.
 */
struct at_leg_figures {
	__u64 last_ns;
	struct at_histogram durations;
};

struct at_kind_figures {
	__u64 count;
	__u64 buckets_ns[AT_BUCKETS];
	struct at_histogram durations;
};

#endif
