// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs of `agenttune measure`: raw tracepoints in, the core's times into maps.
 *
 * Both engines compile this file; front.h has what differs.
 *
 * Raw tracepoints, because classic tracepoint programs share one per-CPU guard and lose the
 * interrupts that nest in them (kernel/trace/bpf_trace.c, v6.12). The arguments used here are the
 * same in v6.1, v6.12 and v6.18; sched_switch's prev_state, which moved around v5.18
 * (9c2136be0878), comes after them.
 *
 * Hardirq time is handler time: device actions, and x86 vectors from their entry tracepoint to
 * their exit. The entry stub, vector dispatch and irq_exit() count to what was interrupted.
 */
#include "interrupt.bpf.h"
#include "turn.bpf.h"
#include "entries.bpf.h"

AT_COMMON_PROGRAMS()

AT_PROGRAM(napi_poll, napi_poll)
{
	struct napi_struct *napi = AT_ARG(0, struct napi_struct *);

	record_poll(AT_READ(napi, napi_struct, dev), AT_ARG(1, int), AT_ARG(2, int));
	return 0;
}

AT_PROGRAM(sched_switch, sched_switch)
{
	switch_turn(AT_ARG(1, struct task_struct *), AT_ARG(2, struct task_struct *));
	return 0;
}

AT_PROGRAM(task_rename, task_rename)
{
	rename_turn(AT_ARG(0, struct task_struct *), AT_ARG(1, const char *));
	return 0;
}

/* Run once on each CPU when the window opens: an agent may run on without a switch. */
AT_RUN_ONCE(seed)
{
	seed_turn();
	return 0;
}

AT_FORGET(threads)
AT_LICENSE();
