/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bounds on what one net_rx_action() does on an agent CPU: packets and nanoseconds.
 *
 * sysctl kernel.agent_latency.agent_napi_budget        packets, 1 to 65535; 0: no bound
 * sysctl kernel.agent_latency.agent_softirq_budget_ns  nanoseconds, 10000 to 10000000; 0: no bound
 *
 * and module parameters of the same names. Both are 0 at first. Other CPUs are never bounded.
 *
 * How: before a poll the NAPI's weight is lowered to what is left of the bounds, and when they are
 * used up the poll's return value is raised, so that net_rx_action() leaves as it does when its own
 * netdev_budget is used up: what was not done stays on the poll list, NET_RX is raised again, and
 * time_squeeze counts. handle_softirqs() may then begin the next net_rx_action() at once, up to ten
 * times in 2 ms, until a task wants the CPU (kernel/softirq.c): the bounds are on how long one of
 * them holds up the other softirqs and the task behind, not on the share of the CPU.
 *
 * A packet is what a driver's poll counts as one; polls that ask to be called again for another
 * reason claim their whole weight. A lowered weight ends a poll early, and with it the aggregation
 * by GRO: small bounds cost throughput.
 *
 * Not bounded: a NAPI polled by a thread of its own, which ignores the return value (pin that
 * thread), and with it the backlog on PREEMPT_RT, which is such a NAPI since v6.10; busy polling,
 * which is a task's own wish and does not call __napi_poll(). Both are counted.
 */
#ifndef AGENT_GUARDRAIL_H
#define AGENT_GUARDRAIL_H

#include <linux/compiler.h>
#include <linux/types.h>

struct napi_struct;

/* What a poll's entry leaves for its return. */
struct agent_guardrail_poll {
	bool threaded;
	bool counted;
	int weight; /* the NAPI's own */
	int lowered; /* what it was lowered to; 0: it was not */
	u64 began_ns;
};

/* Do not use; through agent_guardrail_on(). */
extern bool agent_guardrail_bound;

/* Whether a bound is set. Any context. */
static inline bool agent_guardrail_on(void)
{
	return READ_ONCE(agent_guardrail_bound);
}

/*
 * From the hook on __napi_poll() (napi.c). The second returns what the poll is to return; it must
 * follow a first, even when no bound is set any more.
 */
void agent_guardrail_poll_begin(struct napi_struct *napi, struct agent_guardrail_poll *poll);
int agent_guardrail_poll_end(struct napi_struct *napi, const struct agent_guardrail_poll *poll,
			     int work);

int agent_guardrail_init(void);
void agent_guardrail_exit(void);

#endif
