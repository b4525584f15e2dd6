/* SPDX-License-Identifier: GPL-2.0-only */
/* The agent's turns on a CPU, each from its waking. */
#ifndef AGENTTUNE_TURN_BPF_H
#define AGENTTUNE_TURN_BPF_H

#include "context.bpf.h"
#include "maps.bpf.h"
#include "select.bpf.h"

static __always_inline void end_turn(struct at_state *state, struct at_stamp now)
{
	struct at_agent *agent = value_for(AT_MAP(agents), &state->agent, at_zero(no_agent), state);
	__u64 stolen_ns;

	state->agent.tgid = 0;
	if (!agent)
		return;
	agent->run_ns += at_turn_end(&state->frames, now, &stolen_ns);
	agent->stolen_ns += stolen_ns;
	agent->turns++;
}

static __always_inline void begin_turn(struct at_state *state, struct task_struct *task,
				       struct at_comm comm, struct at_stamp now)
{
	state->agent.tgid = AT_READ(task, task_struct, tgid);
	state->agent.cpu = bpf_get_smp_processor_id();
	state->agent.comm[0] = comm.words[0];
	state->agent.comm[1] = comm.words[1];
	at_turn_begin(&state->frames, now);
}

/* The context that wakes, never simply the task that an interrupt landed on. */
static __always_inline __u32 waking_context(struct at_state *state, bool exact)
{
	if (exact && in_hardirq())
		return AT_HARDIRQ;
	return at_context(&state->frames, AT_READ(at_current(), task_struct, pid) ? AT_TASK : AT_IDLE);
}

/*
 * Storage is made here, where no run queue is locked: before v6.4 (08a7ce384e33) that allocates,
 * and an allocation may wake kswapd.
 */
static __always_inline void begin_waking(struct task_struct *task, bool exact)
{
	struct at_state *state = open_state();
	struct at_waking *thread;

	if (!state || !is_agent(task))
		return;
	if (still_runs(task)) {
		state->coalesced++;
		return;
	}
	thread = at_thread_make(threads, task);
	if (!thread) {
		state->lost++;
		return;
	}
	thread->context = waking_context(state, exact);
	thread->waking_ns = bpf_ktime_get_ns();
}

/* Waking to run, when the task was woken inside the window. */
static __always_inline void end_wakeup(struct task_struct *task, __u64 now_ns)
{
	struct at_waking *thread = at_thread_get(threads, task);
	struct at_histogram *latencies;

	if (!thread || !thread->waking_ns)
		return;
	latencies = at_lookup(wakeups, &thread->context);
	if (latencies && now_ns > thread->waking_ns)
		at_record(latencies, now_ns - thread->waking_ns);
	thread->waking_ns = 0;
}

static __always_inline void switch_turn(struct task_struct *prev, struct task_struct *next)
{
	struct at_state *state = open_state();
	bool starts, frames_matter;
	struct at_stamp now;
	__u64 now_ns;

	if (!state)
		return;
	starts = is_agent(next);
	frames_matter = at_switch_matters(&state->frames);
	if (!starts && !state->agent.tgid && !frames_matter)
		return;
	now_ns = bpf_ktime_get_ns();
	if (frames_matter)
		at_switch(&state->frames, AT_READ(prev, task_struct, pid),
			  AT_READ(next, task_struct, pid), now_ns);
	now = at_stamp(&state->frames, now_ns);
	if (state->agent.tgid)
		end_turn(state, now);
	if (starts) {
		end_wakeup(next, now_ns);
		begin_turn(state, next, comm_of(next), now);
	}
}

/*
 * A thread that renames itself, or an exec, begins a new turn: it may run on for long. Another
 * task's new name counts from its next switch.
 */
static __always_inline void rename_turn(struct task_struct *task, const char *name)
{
	struct at_state *state = open_state();
	struct at_comm comm = {};
	struct at_stamp now;

	if (!state || task != at_current())
		return;
	bpf_probe_read_kernel_str(&comm, sizeof(comm), name);
	now = stable_stamp(&state->frames);
	if (state->agent.tgid)
		end_turn(state, now);
	if (is_agent_named(task, comm))
		begin_turn(state, task, comm, now);
}

/* The window opens in the middle of a turn. */
static __always_inline void seed_turn(void)
{
	struct task_struct *task = at_current();
	struct at_state *state = open_state();

	if (state && !state->agent.tgid && is_agent(task))
		begin_turn(state, task, comm_of(task), stable_stamp(&state->frames));
}

#endif
