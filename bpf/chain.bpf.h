/* SPDX-License-Identifier: GPL-2.0-only */
/* Hardirqs and softirqs: from events to causes. */
#ifndef AGENTTUNE_CHAIN_BPF_H
#define AGENTTUNE_CHAIN_BPF_H

#include "core.bpf.h"

static __always_inline void enter_hardirq(__u32 id)
{
	struct at_core *core = open_core();

	if (core)
		at_hardirq_enter(&core->frames, id, bpf_ktime_get_ns());
}

static __always_inline void exit_hardirq(__u32 id)
{
	struct at_core *core = open_core();
	__u64 self_ns;

	if (!core)
		return;
	self_ns = at_hardirq_exit(&core->frames, id, bpf_ktime_get_ns());
	if (self_ns == AT_UNKNOWN)
		return;
	at_history_hardirq(&core->history, id, self_ns);
	if (id < AT_ARCH_ID)
		record_leg(AT_LEG_HANDLER, self_ns);
}

static __always_inline void exit_handler(__u32 irq, struct irqaction *action, int result)
{
	exit_hardirq(irq);
}

static __always_inline void exit_arch(__u32 arch)
{
	exit_hardirq(AT_ARCH_ID + arch);
}

/* `exact`: the kernel lets BPF see which vectors are pending; else the first raise wins. */
static __always_inline void raise_softirq(__u32 vector, bool exact)
{
	struct at_core *core = open_core();
	bool pending;

	if (!core)
		return;
	pending = exact ? softirq_pending(vector) : at_softirq_raised(&core->frames, vector);
	at_softirq_raise(&core->frames, vector, pending, pending ? 0 : bpf_ktime_get_ns());
}

static __always_inline void enter_softirq(__u32 vector)
{
	struct at_core *core = open_core();

	if (core)
		at_softirq_enter(&core->frames, vector, stable_stamp(&core->frames));
}

static __always_inline void exit_softirq(__u32 vector)
{
	struct at_core *core = open_core();
	__u64 self_ns;

	if (!core)
		return;
	self_ns = at_softirq_exit(&core->frames, vector, stable_stamp(&core->frames));
	if (self_ns != AT_UNKNOWN)
		at_history_softirq(&core->history, &core->frames.softirq.cause, vector, self_ns);
}

#endif
