/* SPDX-License-Identifier: GPL-2.0-only */
/* From kernel events to the core in ../bpf: whose completion an interrupt carries, what it took. */
#ifndef AGENT_ATTRIBUTION_H
#define AGENT_ATTRIBUTION_H

#include <linux/types.h>

struct agent;
struct napi_struct;

/* AGENT_LATENCY_* features that this kernel allows. */
u64 agent_attribution_features(void);

/* Registers and unregisters the probes; under probing_lock in agents.c. May sleep. */
int agent_attribution_start(void);
void agent_attribution_stop(void);

/* Whether the probes are registered; a moment old. Any context. */
bool agent_attribution_runs(void);

/*
 * Nanoseconds that hardirqs and softirqs took on a CPU since the module was loaded, by the module's
 * own probes; they stand still while no agent is attached. Any context; another CPU's may be a
 * little old.
 */
void agent_attribution_noise(unsigned int cpu, u64 *hardirq_ns, u64 *softirq_ns);

/* From the hook on __napi_poll() (napi.c), in softirq context or a NAPI thread. */
void agent_attribution_poll_begin(const struct napi_struct *napi);
void agent_attribution_poll_end(const struct napi_struct *napi);

int agent_attribution_init(void);
void agent_attribution_exit(void);

#endif
