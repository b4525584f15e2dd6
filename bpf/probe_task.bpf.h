/* SPDX-License-Identifier: GPL-2.0-only */
/* Probes wakeup, syscall, fault and irq-to-run: what agents wait for. */
#ifndef AGENTTUNE_PROBE_TASK_BPF_H
#define AGENTTUNE_PROBE_TASK_BPF_H

#include "probe_irq.bpf.h"
#include "object.bpf.h"

/* When the interrupt's handler returned; 0: not yet, or AT_UNKNOWN: no longer kept. */
static __always_inline __u64 exit_of(const struct at_cause *cause)
{
	struct at_exit *slot;
	struct at_exits *all;
	__u32 zero = 0;

	all = at_lookup_percpu(exits, &zero, cause->irq_cpu);
	if (!all)
		return AT_UNKNOWN;
	slot = exit_slot(all, cause->irq_ns);
	if (slot->entry_ns == cause->irq_ns)
		return slot->exit_ns;
	return slot->entry_ns < cause->irq_ns ? 0 : AT_UNKNOWN;
}

static __always_inline void keep_cause(struct at_probe_cpu *cpu, struct at_probe_thread *thread,
				       bool exact)
{
	struct at_chain chain;

	at_chain_now(&cpu->frames, exact && in_hardirq(), &chain);
	thread->cause = chain.cause;
	/* A handler that has returned is looked up while it is surely kept. */
	thread->exit_ns = 0;
	if (chain.cause.flags & AT_CAUSE_IRQ && !cpu->frames.depth)
		thread->exit_ns = exit_of(&chain.cause);
}

static __always_inline void begin_waking(struct task_struct *task, bool exact)
{
	struct at_probe_cpu *cpu = open_cpu();
	struct at_probe_thread *thread;
	bool agent;

	if (!cpu)
		return;
	agent = is_agent(task);
	if (agent && still_runs(task)) {
		cpu->coalesced++;
		return;
	}
	/* A worker of a queue runs many works, for whomever: a chain ends there. */
	if (!agent && (at_chosen()->probe != AT_PROBE_IRQ_TO_RUN || !(AT_READ(task, task_struct, flags) & AT_PF_KTHREAD) ||
		       AT_READ(task, task_struct, flags) & AT_PF_WQ_WORKER))
		return;
	thread = new_thread(cpu, task);
	if (!thread)
		return;
	thread->waking_ns = bpf_ktime_get_ns();
	if (at_chosen()->probe != AT_PROBE_IRQ_TO_RUN)
		return;
	if (agent)
		keep_cause(cpu, thread, exact);
	else
		thread->cause = cause_for(&cpu->frames, task, thread->waking_ns);
}

static __always_inline void record_run(struct at_probe_cpu *cpu, struct task_struct *next,
				       struct at_probe_thread *thread, __u64 now_ns)
{
	struct at_sample_key key = { .sample = AT_S_RUN_EXACT };
	__u64 exit_ns;

	if (cpu->last_exit_ns)
		record_task(cpu, AT_S_RUN_NEAR, next, now_ns - cpu->last_exit_ns);
	if (!thread || !thread->waking_ns || !(thread->cause.flags & AT_CAUSE_IRQ)) {
		record_task(cpu, AT_S_RUN_NO_IRQ, next, 0);
		return;
	}
	exit_ns = thread->exit_ns ? thread->exit_ns : exit_of(&thread->cause);
	if (exit_ns == AT_UNKNOWN) {
		cpu->lost++;
		return;
	}
	if (!exit_ns || exit_ns > now_ns) {
		record_task(cpu, AT_S_RUN_EARLY, next, 0);
		return;
	}
	set_comm(&key, next);
	key.number = thread->cause.irq;
	key.scope = (thread->cause.flags & AT_CAUSE_SHARED) != 0;
	record(cpu, &key, now_ns - exit_ns);
}

static __always_inline void enter_frames(struct at_probe_cpu *cpu, struct task_struct *prev,
					 struct task_struct *next, __u64 now_ns)
{
	struct at_probe_thread *thread = NULL;

	if (at_switch_matters(&cpu->frames))
		at_switch(&cpu->frames, AT_READ(prev, task_struct, pid), AT_READ(next, task_struct, pid), now_ns);
	if (at_chosen()->probe != AT_PROBE_IRQ_TO_RUN)
		return;
	if (AT_READ(next, task_struct, flags) & AT_PF_KTHREAD && AT_READ(next, task_struct, pid))
		thread = known_thread(next);
	at_task(&cpu->frames, AT_READ(next, task_struct, pid), 0, thread ? &thread->cause : NULL);
}

static __always_inline void end_wait(struct at_probe_cpu *cpu, struct task_struct *next,
				     __u64 now_ns)
{
	struct at_probe_thread *thread = known_thread(next);

	switch (at_chosen()->probe) {
	case AT_PROBE_WAKEUP:
		if (thread && thread->waking_ns && now_ns > thread->waking_ns)
			record_task(cpu, AT_S_WAKEUP, next, now_ns - thread->waking_ns);
		break;
	case AT_PROBE_IRQ_TO_RUN:
		record_run(cpu, next, thread, now_ns);
		break;
	case AT_PROBE_FAULT:
		if (thread && thread->wait_ns)
			record_task(cpu, AT_S_FAULT_WAIT, next, now_ns - thread->wait_ns);
		break;
	}
	if (thread) {
		thread->waking_ns = 0;
		thread->wait_ns = 0;
	}
}

/*
 * Blocked in the fault that it took last: the registers on top of its kernel stack are that
 * fault's, and not a system call's (orig_ax is -1: arch/x86/entry/entry_64.S, idtentry_body).
 */
static __always_inline void begin_fault_wait(struct task_struct *prev, __u32 state, __u64 now_ns)
{
	struct at_probe_thread *thread;
	const __u64 *words;
	__u64 saved[2] = {};

	if (!(state & AT_TASK_BLOCKED))
		return;
	thread = known_thread(prev);
	words = saved_registers(prev);
	if (!thread || bpf_probe_read_kernel(saved, sizeof(saved), words + AT_REGISTER_ORIG_AX))
		return;
	if (saved[0] == AT_UNKNOWN && saved[AT_REGISTER_IP - AT_REGISTER_ORIG_AX] == thread->fault_ip)
		thread->wait_ns = now_ns;
}

static __always_inline void probe_switch(struct task_struct *prev, struct task_struct *next,
					 __u32 prev_state)
{
	struct at_probe_cpu *cpu = open_cpu();
	__u64 now_ns;

	if (!cpu)
		return;
	now_ns = bpf_ktime_get_ns();
	if (at_chosen()->probe == AT_PROBE_SOFTIRQ || at_chosen()->probe == AT_PROBE_IRQ_TO_RUN)
		enter_frames(cpu, prev, next, now_ns);
	if (at_chosen()->probe == AT_PROBE_SOFTIRQ)
		return;
	if (at_chosen()->probe == AT_PROBE_FAULT && is_agent(prev))
		begin_fault_wait(prev, prev_state, now_ns);
	if (is_agent(next))
		end_wait(cpu, next, now_ns);
}

static __always_inline void probe_syscall_entry(long number)
{
	struct task_struct *task = at_current();
	struct at_probe_cpu *cpu = open_cpu();
	struct at_probe_thread *thread;

	if (!cpu || !is_agent(task))
		return;
	thread = new_thread(cpu, task);
	if (!thread)
		return;
	thread->syscall = number;
	thread->syscall_ns = bpf_ktime_get_ns();
}

/* The number at the exit is not the entry's after an exec or a signal's return. */
static __always_inline void probe_syscall_exit(void)
{
	struct task_struct *task = at_current();
	struct at_sample_key key = { .sample = AT_S_SYSCALL };
	struct at_probe_cpu *cpu = open_cpu();
	struct at_probe_thread *thread;

	if (!cpu)
		return;
	thread = known_thread(task);
	if (!thread || !thread->syscall_ns)
		return;
	key.number = thread->syscall;
	key.scope = (AT_READ_IN(task, task_struct, thread_info, thread_info, status) & AT_TS_COMPAT) != 0;
	record(cpu, &key, bpf_ktime_get_ns() - thread->syscall_ns);
	thread->syscall_ns = 0;
}

static __always_inline void probe_user_fault(const __u64 *registers)
{
	struct task_struct *task = at_current();
	struct at_probe_cpu *cpu = open_cpu();
	struct at_probe_thread *thread;

	if (!cpu || !is_agent(task))
		return;
	record_task(cpu, AT_S_FAULTS, task, 0);
	thread = new_thread(cpu, task);
	if (thread)
		bpf_probe_read_kernel(&thread->fault_ip, sizeof(thread->fault_ip),
				      registers + AT_REGISTER_IP);
}

/* A fault that had to drop its lock calls again for the same address: both calls are one fault. */
static __always_inline void probe_fault_entry(__u64 address)
{
	struct task_struct *task = at_current();
	struct at_probe_cpu *cpu = open_cpu();
	struct at_probe_thread *thread;

	if (!cpu || !is_agent(task))
		return;
	thread = new_thread(cpu, task);
	if (!thread || (thread->flags & AT_RETRIED && thread->fault_address == address))
		return;
	thread->flags = 0;
	thread->fault_address = address;
	thread->fault_ns = bpf_ktime_get_ns();
}

static __always_inline void probe_fault_exit(__u32 result)
{
	struct task_struct *task = at_current();
	struct at_probe_cpu *cpu = open_cpu();
	struct at_probe_thread *thread;

	if (!cpu)
		return;
	thread = known_thread(task);
	if (!thread || !thread->fault_ns)
		return;
	if (result & AT_VM_FAULT_MAJOR)
		thread->flags |= AT_MAJOR;
	if (result & AT_VM_FAULT_RETRY) {
		thread->flags |= AT_RETRIED;
		return;
	}
	record_task(cpu, thread->flags & AT_MAJOR ? AT_S_FAULT_MAJOR : AT_S_FAULT_MINOR, task,
		    bpf_ktime_get_ns() - thread->fault_ns);
	thread->fault_ns = 0;
	thread->flags = 0;
}

#endif
