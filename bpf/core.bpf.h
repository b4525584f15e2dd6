/* SPDX-License-Identifier: GPL-2.0-only */
/* Maps of `agenttune steps`. */
#ifndef AGENTTUNE_CORE_BPF_H
#define AGENTTUNE_CORE_BPF_H

#include "context.bpf.h"
#include "select.bpf.h"
#include "core.h"

/* Waits below this are not worth a record; they count in the buckets. */
#define WAIT_FLOOR_NS 1000

AT_PERCPU_ARRAY(cores, 1, struct at_core);
AT_PERCPU_ARRAY(kinds, AT_KINDS, struct at_kind_figures);
AT_PERCPU_ARRAY(legs, AT_LEG_COUNT, struct at_leg_figures);
/* Too large for a BPF program's stack. */
AT_PERCPU_ARRAY(scratch, 1, struct at_step_sample);
/* By kind: shorter steps send no record. User space raises it. */
AT_ARRAY(floors, AT_KINDS, __u64);
/* SO_COOKIE → the step that the socket is bound to, and its last completion. */
AT_HASH(bound, __u64, struct at_ready);
AT_RING(records, 1 << 22);
AT_THREADS(threads, struct at_thread);
/* A look-up in here costs less than one of a thread that is not there. */
AT_ARRAY(hints, 1, struct at_hints);
/* Why a kernel thread runs: the chain that woke it. */
AT_THREADS(conduits, struct at_cause);

/* This CPU's core, or NULL outside the window. */
static __always_inline struct at_core *open_core(void)
{
	__u32 zero = 0;

	return at_window_open() ? at_lookup(cores, &zero) : NULL;
}

static __always_inline __u8 *hint_of(struct task_struct *task)
{
	__u32 zero = 0, tid = AT_READ(task, task_struct, pid);
	struct at_hints *found = at_lookup(hints, &zero);

	return found ? &found->watched[at_bounded(tid, AT_HINTS)] : NULL;
}

/* NULL: not watched, or not seen yet. */
static __always_inline struct at_thread *thread_of(struct task_struct *task)
{
	const __u8 *hint = hint_of(task);

	return hint && *hint ? at_thread_get(threads, task) : NULL;
}

/*
 * For wakings and marks only, where no run queue is locked: before v6.4 (08a7ce384e33) this
 * allocates, and an allocation may wake kswapd.
 */
static __always_inline struct at_thread *new_thread(struct at_core *core, struct task_struct *task)
{
	struct at_thread *thread = at_thread_make(threads, task);
	__u8 *hint = hint_of(task);

	if (thread && hint)
		*hint = 1;
	else
		core->tally.lost++;
	return thread;
}

static __always_inline void record_leg(__u32 leg, __u64 ns)
{
	volatile struct at_leg_figures *figures = at_lookup(legs, &leg);

	if (!figures)
		return;
	figures->last_ns = ns;
	at_record((struct at_histogram *)&figures->durations, figures->last_ns);
}

#endif
