/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose completion an interrupt carries, whether or not its thread sleeps.
 *
 * A waking tells it for a thread that sleeps. One that has not slept yet is not woken: its block
 * requests are known by their bios from submission on, its sockets if it bound them.
 */
#ifndef AGENT_COMPLETION_H
#define AGENT_COMPLETION_H

#include "agents.h"
#include "layout.h"

/* The interrupt's number; -1: a timer, an IPI, or no interrupt. */
static inline int agent_cause_irq(const struct at_cause *cause)
{
	return cause->flags & AT_CAUSE_IRQ && cause->irq < AT_ARCH_ID ? (int)cause->irq : -1;
}

static inline int agent_irq_number(u32 id)
{
	return id < AT_ARCH_ID ? (int)id : -1;
}

static inline bool agent_cause_is_irq(const struct at_cause *cause)
{
	return cause->flags & (AT_CAUSE_IRQ | AT_CAUSE_HIDDEN_IRQ);
}

/*
 * Whether the waking at the end of this chain is an interrupt's completion. A kernel thread that a
 * timer or an IPI woke works for itself, as khugepaged does: that it lets go of a lock is none.
 */
static inline bool agent_chain_completes(const struct at_chain *chain)
{
	if (chain->cause.flags & AT_CAUSE_THREAD && !chain->vector &&
	    agent_cause_irq(&chain->cause) < 0)
		return false;
	return agent_cause_is_irq(&chain->cause);
}

/* The agent was woken by thread.wake; `slept`: it was off its CPU. agent->lock is held. */
void agent_completion_woken(struct agent *agent, bool slept, u64 now_ns);

/*
 * Binds a socket, by its cookie, to an open step of the agent; false when there is no place left.
 * Unbinding fills in what it brought, and is false for one that is not bound to that step. For
 * marks: interrupts off, agent->lock is not held.
 */
bool agent_completion_bind(struct agent *agent, u64 step_id, u64 cookie);
bool agent_completion_unbind(const struct agent *agent, u64 step_id, u64 cookie,
			     struct at_ready *ready);

/* AGENT_LATENCY_BLOCK and _SOCKET, as far as this kernel has them. */
u64 agent_completion_features(void);

int agent_completion_start(void);
void agent_completion_stop(void);
int agent_completion_init(void);
void agent_completion_exit(void);

#endif
