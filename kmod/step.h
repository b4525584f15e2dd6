/* SPDX-License-Identifier: GPL-2.0-only */
/* Marks: where the steps of an agent begin and end, and what completed in them. */
#ifndef AGENT_STEP_H
#define AGENT_STEP_H

#include "agents.h"
#include "trace.h"

/*
 * The step that a completion of this thread belongs to, unless its object tells another: the one in
 * its slot, else of those marked by prctl() the one that began last. 0: none. agent->lock is held.
 */
u64 agent_step_current(const struct agent *agent);

/* A device completion reached a step of this agent, if it is open. agent->lock is held. */
void agent_step_complete(struct agent *agent, u64 step_id, const struct at_chain *chain, u32 stage,
			 u64 now_ns);

/*
 * Takes over what its slot says: ends and begins its step at the times stored there. The agent runs
 * on this CPU, agent->lock is held.
 */
void agent_step_sync(struct agent *agent, const struct at_cpu *frames, struct at_stamp now);

/* AGENT_LATENCY_PRCTL, if this kernel has a place to see the marks. */
u64 agent_step_features(void);

int agent_step_start(void);
void agent_step_stop(void);
int agent_step_init(void);
void agent_step_exit(void);

#endif
