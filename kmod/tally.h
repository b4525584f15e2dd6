/* SPDX-License-Identifier: GPL-2.0-only */
/* Totals without a tracer: debugfs agent_latency/agents and agent_latency/steps. */
#ifndef AGENT_TALLY_H
#define AGENT_TALLY_H

#include "agents.h"

/*
 * A step that ended, for `steps`, which keeps the last AGENT_TALLY_STEPS. Any context, interrupts
 * off; agent->lock is held.
 */
void agent_tally_step(const struct agent *agent, const struct at_step_record *record,
		      const struct agent_told *told);

#define AGENT_TALLY_STEPS 1024

int agent_tally_init(void);
void agent_tally_exit(void);

#endif
