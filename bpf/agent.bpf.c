// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs of `agenttune measure`: raw tracepoints in, the core's times into maps.
 *
 * Both engines compile this file; front.h has what differs.
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
#include "interrupt.bpf.h"
#include "turn.bpf.h"

AT_PROGRAM(irq_handler_entry, irq_handler_entry)
{
	enter_hardirq(AT_ARG(0, int));
	return 0;
}

AT_PROGRAM(irq_handler_exit, irq_handler_exit)
{
	struct irqaction *action = AT_ARG(1, struct irqaction *);

	/* A shared line runs every action for one interrupt: the last one counts. */
	exit_irq(AT_ARG(0, int), AT_READ(action, irqaction, next) == NULL);
	return 0;
}

#define ARCH_INTERRUPT(name, arch)                                                                 \
	AT_PROGRAM(name##_entry, name##_entry)                                                     \
	{                                                                                          \
		enter_hardirq(AT_ARCH_ID + arch);                                                  \
		return 0;                                                                          \
	}                                                                                          \
	AT_PROGRAM(name##_exit, name##_exit)                                                       \
	{                                                                                          \
		exit_arch(arch);                                                                   \
		return 0;                                                                          \
	}

ARCH_INTERRUPT(local_timer, AT_LOC)
ARCH_INTERRUPT(reschedule, AT_RES)
ARCH_INTERRUPT(call_function, AT_CAL)
ARCH_INTERRUPT(call_function_single, AT_CAL_SINGLE)
ARCH_INTERRUPT(irq_work, AT_IWI)

AT_PROGRAM(softirq_raise, softirq_raise)
{
	raise_softirq(AT_ARG(0, __u32), false);
	return 0;
}

AT_PROGRAM(softirq_raise_exact, softirq_raise)
{
	raise_softirq(AT_ARG(0, __u32), true);
	return 0;
}

AT_PROGRAM(softirq_entry, softirq_entry)
{
	enter_softirq(AT_ARG(0, __u32));
	return 0;
}

AT_PROGRAM(softirq_exit, softirq_exit)
{
	exit_softirq(AT_ARG(0, __u32));
	return 0;
}

AT_PROGRAM(napi_poll, napi_poll)
{
	struct napi_struct *napi = AT_ARG(0, struct napi_struct *);

	record_poll(AT_READ(napi, napi_struct, dev), AT_ARG(1, int), AT_ARG(2, int));
	return 0;
}

AT_PROGRAM(sched_waking, sched_waking)
{
	begin_wakeup(AT_ARG(0, struct task_struct *), false);
	return 0;
}

AT_PROGRAM(sched_waking_exact, sched_waking)
{
	begin_wakeup(AT_ARG(0, struct task_struct *), true);
	return 0;
}

AT_PROGRAM(sched_switch, sched_switch)
{
	switch_turn(AT_ARG(1, struct task_struct *), AT_ARG(2, struct task_struct *));
	return 0;
}

AT_PROGRAM(task_rename, task_rename)
{
	rename_turn(AT_ARG(0, struct task_struct *), AT_ARG(1, const char *));
	return 0;
}

/* Run once on each CPU when the window opens: an agent may run on without a switch. */
AT_RUN_ONCE(seed)
{
	seed_turn();
	return 0;
}

AT_FORGET(threads)
AT_LICENSE();
