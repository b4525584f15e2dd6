// SPDX-License-Identifier: GPL-2.0-only
/*
 * The note's seven probes, one at a time: user space loads only the chosen probe's programs, and
 * the verifier drops what the others would do in them.
 *
 * The arguments used here are the same in v6.1, v6.12 and v6.18. A program named *_exact replaces
 * the one without the suffix as in agent.bpf.c.
 */
#include "probe_irq.bpf.h"
#include "probe_task.bpf.h"
#include "probe_block.bpf.h"

SEC("tp_btf/irq_handler_entry")
int BPF_PROG(irq_handler_entry, int irq)
{
	probe_hardirq_entry(irq);
	return 0;
}

SEC("tp_btf/irq_handler_exit")
int BPF_PROG(irq_handler_exit, int irq, struct irqaction *action, int result)
{
	probe_handler_exit(irq, action, result);
	return 0;
}

#define ARCH_INTERRUPT(name, arch)                                                                 \
	SEC("tp_btf/" #name "_entry")                                                              \
	int name##_entry(void *ctx)                                                                \
	{                                                                                          \
		probe_hardirq_entry(AT_ARCH_ID + arch);                                            \
		return 0;                                                                          \
	}                                                                                          \
	SEC("tp_btf/" #name "_exit")                                                               \
	int name##_exit(void *ctx)                                                                 \
	{                                                                                          \
		probe_arch_exit(arch);                                                             \
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
	probe_raise(vector, false);
	return 0;
}

SEC("tp_btf/softirq_raise")
int BPF_PROG(softirq_raise_exact, unsigned int vector)
{
	probe_raise(vector, true);
	return 0;
}

SEC("tp_btf/softirq_entry")
int BPF_PROG(softirq_entry, unsigned int vector)
{
	probe_softirq_entry(vector);
	return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(softirq_exit, unsigned int vector)
{
	probe_softirq_exit(vector);
	return 0;
}

SEC("tp_btf/napi_poll")
int BPF_PROG(napi_poll, struct napi_struct *napi)
{
	probe_poll(napi->dev);
	return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(sched_waking, struct task_struct *task)
{
	probe_waking(task, false);
	return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(sched_waking_exact, struct task_struct *task)
{
	probe_waking(task, true);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next,
	     unsigned int prev_state)
{
	probe_switch(prev, next, prev_state);
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(sys_enter, struct pt_regs___probe *regs, long number)
{
	probe_syscall_entry(number);
	return 0;
}

SEC("tp_btf/sys_exit")
int sys_exit(void *ctx)
{
	probe_syscall_exit();
	return 0;
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(block_rq_issue, struct request___probe *request)
{
	probe_issue(request);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(block_rq_complete, struct request___probe *request, __u8 error, unsigned int bytes)
{
	probe_complete(request, error, bytes);
	return 0;
}

SEC("tp_btf/block_rq_requeue")
int BPF_PROG(block_rq_requeue, struct request___probe *request)
{
	probe_requeue(request);
	return 0;
}

SEC("tp_btf/block_rq_merge")
int BPF_PROG(block_rq_merge, struct request___probe *request)
{
	probe_merge(request);
	return 0;
}

SEC("tp_btf/page_fault_user")
int BPF_PROG(page_fault_user, unsigned long address, struct pt_regs___probe *regs)
{
	probe_user_fault(regs);
	return 0;
}

SEC("fentry/handle_mm_fault")
int BPF_PROG(fault_entry, void *vma, unsigned long address)
{
	probe_fault_entry(address);
	return 0;
}

SEC("fexit/handle_mm_fault")
int BPF_PROG(fault_exit, void *vma, unsigned long address, unsigned int flags, void *regs,
	     unsigned int result)
{
	probe_fault_exit(result);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
