/* SPDX-License-Identifier: GPL-2.0-only */
/* Which CPUs are agent CPUs: those named by the operator, and those where agents ran last. */
#ifndef AGENT_CPUS_H
#define AGENT_CPUS_H

#include <linux/types.h>

/* No CPU: an agent that was not seen to run yet. */
#define AGENT_NO_CPU (~0U)

/* Any context. */
bool agent_cpus_has(unsigned int cpu);

/* Whether the operator named any. */
bool agent_cpus_any_named(void);

/* An agent ran last on `from` and now runs on `to`; either may be AGENT_NO_CPU. Any context. */
void agent_cpus_move(unsigned int from, unsigned int to);

int agent_cpus_init(void);
void agent_cpus_exit(void);

#endif
