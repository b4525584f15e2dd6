/* SPDX-License-Identifier: GPL-2.0-only */
/* Hardirqs, softirqs and NAPI polls: from the core's times into maps. */
#ifndef AGENTTUNE_INTERRUPT_BPF_H
#define AGENTTUNE_INTERRUPT_BPF_H

#include "context.bpf.h"
#include "maps.bpf.h"

static __always_inline void enter_hardirq(__u32 id)
{
	struct at_state *state = open_state();

	if (state)
		at_hardirq_enter(&state->frames, id, bpf_ktime_get_ns());
}

static __always_inline void exit_handler(__u32 irq, struct irqaction *action, int result)
{
	struct at_state *state = open_state();
	struct at_irq_key key = { .irq = irq };
	struct at_irq *load;
	__u64 self_ns;

	if (!state)
		return;
	self_ns = at_hardirq_exit(&state->frames, irq, bpf_ktime_get_ns());
	if (self_ns == AT_UNKNOWN)
		return;
	key.cpu = bpf_get_smp_processor_id();
	load = value_for(AT_MAP(irqs), &key, at_zero(no_irq), state);
	if (!load)
		return;
	/* A shared line runs every action for one interrupt: the last one counts. */
	load->count += AT_READ(action, irqaction, next) == NULL;
	at_record(&load->times, self_ns);
}

static __always_inline void exit_arch(__u32 arch)
{
	struct at_state *state = open_state();
	struct at_load *load;
	__u64 self_ns;

	if (!state)
		return;
	self_ns = at_hardirq_exit(&state->frames, AT_ARCH_ID + arch, bpf_ktime_get_ns());
	load = at_lookup(archs, &arch);
	if (!load || self_ns == AT_UNKNOWN)
		return;
	load->count++;
	load->time_ns += self_ns;
}

/* `exact`: the kernel lets BPF see which vectors are pending; else the first raise wins. */
static __always_inline void raise_softirq(__u32 vector, bool exact)
{
	struct at_state *state = open_state();
	bool pending;

	if (!state)
		return;
	pending = exact ? softirq_pending(vector) :
			  at_softirq_raised(&state->frames, vector);
	if (!pending)
		at_softirq_raise(&state->frames, vector, 0, bpf_ktime_get_ns());
}

static __always_inline void enter_softirq(__u32 vector)
{
	struct at_state *state = open_state();
	struct at_softirq *softirq;
	__u64 latency_ns;

	if (!state)
		return;
	latency_ns = at_softirq_enter(&state->frames, vector, stable_stamp(&state->frames));
	softirq = at_lookup(softirqs, &vector);
	if (softirq && latency_ns != AT_UNKNOWN)
		at_record(&softirq->latencies, latency_ns);
}

static __always_inline void exit_softirq(__u32 vector)
{
	struct at_state *state = open_state();
	struct at_softirq *softirq;
	__u64 self_ns;

	if (!state)
		return;
	self_ns = at_softirq_exit(&state->frames, vector, stable_stamp(&state->frames));
	softirq = at_lookup(softirqs, &vector);
	if (!softirq || self_ns == AT_UNKNOWN)
		return;
	softirq->count++;
	at_record(&softirq->times, self_ns);
	if (runs_ksoftirqd())
		softirq->ksoftirqd_ns += self_ns;
}

/* The backlog's NAPI has no device; its key stays empty. */
static __always_inline void record_poll(struct net_device *device, int work, int budget)
{
	struct at_state *state = open_state();
	struct at_napi_key key = {};
	struct at_napi *load;

	if (!state)
		return;
	key.cpu = bpf_get_smp_processor_id();
	if (device) {
		struct net *net = AT_READ_IN(device, net_device, nd_net, possible_net_t, net);

		AT_COPY(key.device, sizeof(key.device), device, net_device, name);
		key.netns = AT_READ_IN(net, net, ns, ns_common, inum);
	}
	load = value_for(AT_MAP(napis), &key, at_zero(no_napi), state);
	if (!load)
		return;
	load->polls++;
	/* netpoll polls with budget 0. */
	load->exhausted += budget && work >= budget;
	at_record(&load->packets, work);
}

#endif
