/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where device interrupts go, for the agents' sake (section 6.2 of the note).
 *
 * Modes, by module parameter `placement` and sysctl kernel.agent_latency.placement; the words mean
 * what they mean in an agenttune profile:
 *
 *   off   Nothing is moved. The default.
 *   away  A movable interrupt that is taken by an agent CPU, or by an SMT sibling of one, goes to
 *         the nearest quiet housekeeping CPU that is neither. All others stay.
 *   near  As away; and an interrupt that lately completed for an agent goes to such a CPU in the
 *         agent's last-level cache, else on its NUMA node, else anywhere.
 *   same  An interrupt that lately completed for an agent goes to the agent's own CPU while that is
 *         quiet, else to a quiet housekeeping CPU close to it: one where the agent itself may run,
 *         if there is one. All others stay.
 *
 * The sketch in the note is `same`: its fallback is the first CPU of the agent's that does
 * housekeeping, which for a pinned agent is the noisy CPU again; here it is the nearest quiet one,
 * and where there is none the interrupt stays.
 *
 * Agent CPU: where an agent ran last, or named by the operator (cpus.h). Housekeeping: online, not
 * isolated (isolcpus=), not nohz_full. Nearest: for `away` first on the device's NUMA node, then in
 * the cache and on the node of the CPU that it leaves. Among equals the CPU with the fewest
 * interrupts of ours wins, then the quieter one.
 *
 * Quiet: hardirqs and softirqs took no more than `placement_quiet_pct` of any of the last
 * PLACEMENT_WINDOWS windows of `placement_window_ms`, by the module's own accounting. That stands
 * still while no thread is attached: with named CPUs alone every CPU counts as quiet. Noise keeps
 * interrupts from a CPU, but takes them from one only where they share it with their agent (same).
 *
 * Hysteresis: an interrupt is moved after PLACEMENT_WINDOWS windows at whose ends it was on a wrong
 * CPU for the same reason; an agent that migrates more often than that moves nothing. Rate limit:
 * one interrupt is moved once in PLACEMENT_REST windows at most.
 *
 * Managed interrupts are never written to: irq_set_affinity() takes their masks too, and returns 0,
 * but the next interrupt reverts them (6.1 and 6.12). For the others 0 proves as little: the mask
 * takes effect with the next interrupt, so `pending` becomes `ours` by the effective mask only.
 *
 * Other writers: a mask that is not what was written here is another writer's. It is counted, and
 * that interrupt is left alone until placement starts anew. Who writes the same mask as the module
 * cannot be told from it. No affinity notifier is used: each interrupt has room for one, and
 * drivers take it.
 *
 * Restoring: when the last agent detaches and no CPU is named, when the mode changes, when the CPU
 * of an interrupt goes offline, and on unload, each mask that is still ours becomes what it was.
 * What cannot be restored: the flag that a mask was set (IRQD_AFFINITY_SET), and which CPU of a
 * wider mask had taken the interrupt.
 *
 * All of it happens in one delayed work, which is idle while the mode is off or there is no agent
 * CPU.
 */
#ifndef AGENT_PLACEMENT_H
#define AGENT_PLACEMENT_H

#include <linux/cpumask.h>

#define PLACEMENT_WINDOWS 3
#define PLACEMENT_REST 10

struct vector;

/*
 * The CPU for an interrupt for the sake of an agent on `agent_cpu` that may run on `may`, or -1:
 * there is none better than where it is. `may` is used in mode same only.
 */
int agent_select_irq_cpu(const struct vector *vector, unsigned int agent_cpu,
			 const struct cpumask *may);

/* A thread was attached, the last one is gone, or agent CPUs were named. May sleep. */
void agent_placement_follow(void);

int agent_placement_init(void);
void agent_placement_exit(void);

#endif
