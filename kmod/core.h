/* SPDX-License-Identifier: GPL-2.0-only */
/* What the module keeps of each CPU: the core's frames, and the task below them. */
#ifndef AGENT_CORE_H
#define AGENT_CORE_H

#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>

#include "layout.h"

/* A power of two; see napi_source.h. */
#define AGENT_NAPI_SOURCES 64

/* Which interrupt put a NAPI on this CPU's poll list last. */
struct agent_napi_source {
	const void *napi;
	struct at_cause cause; /* its times are 0 once the NAPI was polled */
};

/*
 * Written by its own CPU's probes only. Hardirq events may land inside those that run with
 * interrupts on (softirq entry and exit, NAPI polls); ../bpf/frames.h says why that is safe.
 */
struct agent_core {
	struct at_cpu frames;
	/* The poll list's end when the outermost handler began; hardirq context. */
	const void *poll_list_end;
	struct agent_napi_source sources[AGENT_NAPI_SOURCES];
	/* The softirq's own cause, while a NAPI's stands in its place. */
	struct at_cause served;
	bool serving;
	/* Switches whose tracepoint was not seen. */
	u64 missed_switches;
};

DECLARE_PER_CPU(struct agent_core, agent_cores);

/* The clock of BPF's bpf_ktime_get_ns(): CLOCK_MONOTONIC, from any context. */
static inline u64 agent_now_ns(void)
{
	return ktime_get_mono_fast_ns();
}

/* For code that hardirqs can interrupt: the clock must not move over a hardirq. */
static inline struct at_stamp agent_stable_stamp(const struct at_cpu *frames)
{
	struct at_stamp stamp;
	int tries;

	for (tries = 0; tries < 4; tries++) {
		stamp.hardirq_ns = READ_ONCE(frames->hardirq_ns);
		stamp.now_ns = agent_now_ns();
		if (stamp.hardirq_ns == READ_ONCE(frames->hardirq_ns))
			break;
	}
	return stamp;
}

#endif
