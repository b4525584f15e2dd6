/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs that agent, steps and probe.bpf.c have in common. bcc finds programs only in the file
 * that it compiles, so each file expands them, and defines what they call:
 *
 *   enter_hardirq(id), exit_arch(arch)          id: an IRQ number, or AT_ARCH_ID + arch
 *   exit_handler(irq, action, result)
 *   raise_softirq(vector, exact), enter_softirq(vector), exit_softirq(vector)
 *   begin_waking(task, exact)
 *
 * The arguments used here are the same in v6.1, v6.12 and v6.18. A program named *_exact reads the
 * kernel's per-CPU variables; it replaces the one without the suffix on kernels whose symbol table
 * has them (CONFIG_KALLSYMS_ALL).
 */
#ifndef AGENTTUNE_ENTRIES_BPF_H
#define AGENTTUNE_ENTRIES_BPF_H

#define AT_CALLING(name, tracepoint, call)                                                         \
	AT_PROGRAM(name, tracepoint)                                                               \
	{                                                                                          \
		call;                                                                              \
		return 0;                                                                          \
	}

#define AT_ARCH_PROGRAMS(name, arch)                                                               \
	AT_CALLING(name##_entry, name##_entry, enter_hardirq(AT_ARCH_ID + arch))                   \
	AT_CALLING(name##_exit, name##_exit, exit_arch(arch))

#define AT_COMMON_PROGRAMS()                                                                       \
	AT_CALLING(irq_handler_entry, irq_handler_entry, enter_hardirq(AT_ARG(0, int)))            \
	AT_CALLING(irq_handler_exit, irq_handler_exit,                                             \
		   exit_handler(AT_ARG(0, int), AT_ARG(1, struct irqaction *), AT_ARG(2, int)))    \
	AT_ARCH_PROGRAMS(local_timer, AT_LOC)                                                      \
	AT_ARCH_PROGRAMS(reschedule, AT_RES)                                                       \
	AT_ARCH_PROGRAMS(call_function, AT_CAL)                                                    \
	AT_ARCH_PROGRAMS(call_function_single, AT_CAL_SINGLE)                                      \
	AT_ARCH_PROGRAMS(irq_work, AT_IWI)                                                         \
	AT_CALLING(softirq_raise, softirq_raise, raise_softirq(AT_ARG(0, __u32), false))           \
	AT_CALLING(softirq_raise_exact, softirq_raise, raise_softirq(AT_ARG(0, __u32), true))      \
	AT_CALLING(softirq_entry, softirq_entry, enter_softirq(AT_ARG(0, __u32)))                  \
	AT_CALLING(softirq_exit, softirq_exit, exit_softirq(AT_ARG(0, __u32)))                     \
	AT_CALLING(sched_waking, sched_waking,                                                     \
		   begin_waking(AT_ARG(0, struct task_struct *), false))                           \
	AT_CALLING(sched_waking_exact, sched_waking,                                               \
		   begin_waking(AT_ARG(0, struct task_struct *), true))

#endif
