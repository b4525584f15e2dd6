/* SPDX-License-Identifier: GPL-2.0-only */
/* Probes irq and softirq: handlers, softirqs and NAPI polls. */
#ifndef AGENTTUNE_PROBE_IRQ_BPF_H
#define AGENTTUNE_PROBE_IRQ_BPF_H

#include "probe_maps.bpf.h"

static __always_inline void enter_hardirq(__u32 id)
{
	struct at_probe_cpu *cpu = open_cpu();

	if (cpu)
		at_hardirq_enter(&cpu->frames, id, bpf_ktime_get_ns());
}

/* Direct-mapped by the entry's time, which the waking's chain carries. */
static __always_inline struct at_exit *exit_slot(struct at_exits *all, __u64 entry_ns)
{
	return &all->of[at_bounded(entry_ns >> 12, AT_EXITS)];
}

static __always_inline void keep_exit(__u64 entry_ns, __u64 now_ns)
{
	struct at_exit *slot;
	struct at_exits *all;
	__u32 zero = 0;

	all = at_lookup(exits, &zero);
	if (!all)
		return;
	slot = exit_slot(all, entry_ns);
	slot->exit_ns = now_ns;
	slot->entry_ns = entry_ns;
}

/* The exited handler's own time, or AT_UNKNOWN. */
static __always_inline __u64 leave_hardirq(struct at_probe_cpu *cpu, __u32 id, __u64 now_ns)
{
	struct at_cpu *frames = &cpu->frames;
	__u64 entry_ns = frames->hardirqs[at_bounded(frames->depth - 1, AT_HARDIRQ_FRAMES)].start_ns;
	__u64 self_ns = at_hardirq_exit(frames, id, now_ns);

	if (self_ns != AT_UNKNOWN && at_chosen()->probe == AT_PROBE_IRQ_TO_RUN)
		keep_exit(entry_ns, now_ns);
	return self_ns;
}

static __always_inline void exit_handler(__u32 irq, struct irqaction *action, int result)
{
	struct at_probe_cpu *cpu = open_cpu();
	struct at_sample_key key = { .sample = AT_S_HANDLER, .number = irq };
	const char *name = AT_READ(action, irqaction, name);
	__u64 now_ns = bpf_ktime_get_ns(), self_ns;

	if (!cpu)
		return;
	self_ns = leave_hardirq(cpu, irq, now_ns);
	cpu->last_exit_ns = now_ns;
	if (at_chosen()->probe != AT_PROBE_IRQ || self_ns == AT_UNKNOWN)
		return;
	if (result == AT_IRQ_NONE)
		key.sample = AT_S_HANDLER_IDLE;
	bpf_probe_read_kernel_str(key.name, sizeof(key.name), name);
	record(cpu, &key, self_ns);
}

static __always_inline void exit_arch(__u32 arch)
{
	struct at_probe_cpu *cpu = open_cpu();
	struct at_sample_key key = { .sample = AT_S_ARCH, .number = arch };
	__u64 self_ns;

	if (!cpu)
		return;
	self_ns = leave_hardirq(cpu, AT_ARCH_ID + arch, bpf_ktime_get_ns());
	if (at_chosen()->probe == AT_PROBE_IRQ && self_ns != AT_UNKNOWN)
		record(cpu, &key, self_ns);
}

/* `exact`: the kernel lets BPF see which vectors are pending; else the first raise wins. */
static __always_inline void raise_softirq(__u32 vector, bool exact)
{
	struct at_probe_cpu *cpu = open_cpu();
	int pending;

	if (!cpu || vector >= AT_SOFTIRQS)
		return;
	pending = exact ? softirq_pending(vector) : at_softirq_raised(&cpu->frames, vector) != 0;
	at_softirq_raise(&cpu->frames, vector, pending, bpf_ktime_get_ns());
}

static __always_inline void enter_softirq(__u32 vector)
{
	struct at_probe_cpu *cpu = open_cpu();
	struct at_sample_key key = { .sample = AT_S_SOFTIRQ_LATENCY, .number = vector };
	struct at_stamp now;
	__u64 latency_ns;

	if (!cpu)
		return;
	now = stable_stamp(&cpu->frames);
	latency_ns = at_softirq_enter(&cpu->frames, vector, now);
	if (vector == AT_NET_RX)
		cpu->poll = now;
	if (at_chosen()->probe == AT_PROBE_SOFTIRQ && latency_ns != AT_UNKNOWN)
		record(cpu, &key, latency_ns);
}

static __always_inline void exit_softirq(__u32 vector)
{
	struct at_probe_cpu *cpu = open_cpu();
	struct at_sample_key key = { .sample = AT_S_SOFTIRQ_TIME, .number = vector };
	__u64 self_ns;

	if (!cpu)
		return;
	self_ns = at_softirq_exit(&cpu->frames, vector, stable_stamp(&cpu->frames));
	if (at_chosen()->probe == AT_PROBE_SOFTIRQ && self_ns != AT_UNKNOWN)
		record(cpu, &key, self_ns);
}

/*
 * The tracepoint fires after a poll, and the function around it is inlined (v6.12): a poll began
 * where the one before it ended, or where NET_RX began.
 */
static __always_inline void probe_poll(struct net_device *device)
{
	struct at_probe_cpu *cpu = open_cpu();
	struct at_sample_key key = { .sample = AT_S_POLL };
	struct at_stamp now;
	__u64 self_ns = 0;

	if (!cpu)
		return;
	if (device) {
		struct net *net = AT_READ_IN(device, net_device, nd_net, possible_net_t, net);

		AT_COPY(key.name, AT_NAME_LEN, device, net_device, name);
		key.scope = AT_READ_IN(net, net, ns, ns_common, inum);
	}
	if (cpu->frames.softirq.vector == AT_NET_RX + 1 && cpu->poll.now_ns) {
		now = stable_stamp(&cpu->frames);
		self_ns = at_elapsed(cpu->poll, now);
		cpu->poll = now;
	} else {
		key.sample = AT_S_POLL_ELSEWHERE;
	}
	record(cpu, &key, self_ns);
}

#endif
