/* SPDX-License-Identifier: GPL-2.0-only */
/* Wakings and switches of the agents, and of the kernel threads that serve them. */
#ifndef AGENT_TURN_H
#define AGENT_TURN_H

struct agent;

/* Under probing_lock in agents.c; the probes of wakings, switches, exits and execs. May sleep. */
int agent_turn_start(void);
void agent_turn_stop(void);

/* A new agent, which is in the table: where it is now. */
void agent_turn_seed(struct agent *agent);

int agent_turn_init(void);

#endif
