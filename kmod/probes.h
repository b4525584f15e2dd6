/* SPDX-License-Identifier: GPL-2.0-only */
/* Tracepoints by name: most that the module needs are not exported. */
#ifndef AGENT_PROBES_H
#define AGENT_PROBES_H

#include <linux/tracepoint.h>

/*
 * One function on one tracepoint. Probes run with preemption off (RT too) and, for most
 * tracepoints here, with interrupts off: no allocation, no sleeping lock, no printk, no wakeup.
 */
struct agent_probe {
	const char *name;
	void *function;
	bool optional;
	bool registered;
	struct tracepoint *tracepoint;
};

/* Fills in `tracepoint`. -ENOENT, and says which, when one that is not optional is missing. */
int agent_probes_find(struct agent_probe *probes, unsigned int count);

/* All of them or none. May sleep. */
int agent_probes_register(struct agent_probe *probes, unsigned int count);

/* When it returns no probe runs any more: it waits for them (tracepoint_synchronize_unregister). */
void agent_probes_unregister(struct agent_probe *probes, unsigned int count);

#endif
