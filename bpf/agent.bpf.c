// SPDX-License-Identifier: GPL-2.0-only
/*
 * CO-RE front-end: BTF raw tracepoints in, the core's times into maps.
 *
 * Raw tracepoints, because classic tracepoint programs share one per-CPU guard and lose the
 * interrupts that nest in them (kernel/trace/bpf_trace.c, v6.12). The arguments used here are the
 * same in v6.1, v6.12 and v6.18; sched_switch's prev_state, which moved around v5.18
 * (9c2136be0878), comes after them.
 *
 * Hardirq time is handler time: device actions, and x86 vectors from their entry tracepoint to
 * their exit. The entry stub, vector dispatch and irq_exit() count to what was interrupted.
 *
 * A program named *_exact reads the kernel's per-CPU variables; it replaces the one without the
 * suffix on kernels whose symbol table has them (CONFIG_KALLSYMS_ALL).
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <stdbool.h>
#include <stddef.h>

#include "kernel.h"
#include "interrupt.bpf.h"
#include "turn.bpf.h"

SEC("tp_btf/irq_handler_entry")
int BPF_PROG(irq_handler_entry, int irq)
{
	enter_hardirq(irq);
	return 0;
}

SEC("tp_btf/irq_handler_exit")
int BPF_PROG(irq_handler_exit, int irq, struct irqaction *action)
{
	/* A shared line runs every action for one interrupt: the last one counts. */
	exit_irq(irq, action->next == NULL);
	return 0;
}

#define ARCH_INTERRUPT(name, arch)                                                                 \
	SEC("tp_btf/" #name "_entry")                                                              \
	int name##_entry(void *ctx)                                                                \
	{                                                                                          \
		enter_hardirq(AT_ARCH_ID + arch);                                                  \
		return 0;                                                                          \
	}                                                                                          \
	SEC("tp_btf/" #name "_exit")                                                               \
	int name##_exit(void *ctx)                                                                 \
	{                                                                                          \
		exit_arch(arch);                                                                   \
		return 0;                                                                          \
	}

ARCH_INTERRUPT(local_timer, AT_LOC)
ARCH_INTERRUPT(reschedule, AT_RES)
ARCH_INTERRUPT(call_function, AT_CAL)
ARCH_INTERRUPT(call_function_single, AT_CAL_SINGLE)
ARCH_INTERRUPT(irq_work, AT_IWI)

SEC("tp_btf/softirq_raise")
int BPF_PROG(softirq_raise, unsigned int vector)
{
	raise_softirq(vector, false);
	return 0;
}

SEC("tp_btf/softirq_raise")
int BPF_PROG(softirq_raise_exact, unsigned int vector)
{
	raise_softirq(vector, true);
	return 0;
}

SEC("tp_btf/softirq_entry")
int BPF_PROG(softirq_entry, unsigned int vector)
{
	enter_softirq(vector);
	return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(softirq_exit, unsigned int vector)
{
	exit_softirq(vector);
	return 0;
}

SEC("tp_btf/napi_poll")
int BPF_PROG(napi_poll, struct napi_struct *napi, int work, int budget)
{
	record_poll(napi->dev, work, budget);
	return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(sched_waking, struct task_struct *task)
{
	begin_wakeup(task, false);
	return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(sched_waking_exact, struct task_struct *task)
{
	begin_wakeup(task, true);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	switch_turn(prev, next);
	return 0;
}

SEC("tp_btf/task_rename")
int BPF_PROG(task_rename, struct task_struct *task, const char *name)
{
	rename_turn(task, name);
	return 0;
}

/* Run once on each CPU when the window opens: an agent may run on without a switch. */
SEC("raw_tp")
int seed(void *ctx)
{
	seed_turn();
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
