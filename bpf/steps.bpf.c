// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs of `agenttune steps`: interrupts, wakings, switches and marks into the core.
 *
 * The arguments used here are the same in v6.1, v6.12 and v6.18; sched_switch's prev_state, which
 * moved around v5.18 (9c2136be0878), comes after them.
 */
#include "front.h"
#include "core.bpf.h"
#include "chain.bpf.h"
#include "thread.bpf.h"
#include "complete.bpf.h"
#include "syscall.bpf.h"
#include "mark.bpf.h"
#include "entries.bpf.h"

AT_COMMON_PROGRAMS()

AT_PROGRAM(sched_wakeup, sched_wakeup)
{
	end_waking(AT_ARG(0, struct task_struct *));
	return 0;
}

AT_PROGRAM(sched_switch, sched_switch)
{
	switch_threads(AT_ARG(1, struct task_struct *), AT_ARG(2, struct task_struct *),
		       AT_ARG(0, bool));
	return 0;
}

AT_PROGRAM(sched_process_exit, sched_process_exit)
{
	forget_steps();
	return 0;
}

/* Since v6.13 (57fbad15c2ee). */
AT_PROGRAM(task_prctl_unknown, task_prctl_unknown)
{
	struct at_mark mark = { AT_ARG(1, __u64), AT_ARG(2, __u64), AT_ARG(3, __u64),
				AT_ARG(4, __u64) };

	if (AT_ARG(0, int) == AT_MARK)
		take_mark(&mark);
	return 0;
}

/* Not fentry: its programs can be preempted, and a mark must not be. */
AT_KPROBE(prctl_mark, __x64_sys_prctl)
{
	/* struct pt_regs (arch/x86/include/asm/ptrace.h); word by word, for the stack is short. */
	const __u64 *words = AT_ARG(AT_REGISTER_DI, const __u64 *);
	struct at_mark mark = {};
	__u32 option = 0;

	bpf_probe_read_kernel(&option, sizeof(option), words + AT_REGISTER_DI);
	if (option != AT_MARK)
		return 0;
	bpf_probe_read_kernel(&mark.word, sizeof(mark.word), words + AT_REGISTER_SI);
	bpf_probe_read_kernel(&mark.step_id, sizeof(mark.step_id), words + AT_REGISTER_DX);
	bpf_probe_read_kernel(&mark.third, sizeof(mark.third), words + AT_REGISTER_R10);
	bpf_probe_read_kernel(&mark.budget, sizeof(mark.budget), words + AT_REGISTER_R8);
	take_mark(&mark);
	return 0;
}

AT_PROGRAM(sk_data_ready, sk_data_ready)
{
	socket_ready(AT_ARG(0, const struct sock *));
	return 0;
}

/* What sk->sk_data_ready mostly is; its tracepoint came with v6.3 (40e0b0908142). */
AT_KPROBE(socket_readable, sock_def_readable)
{
	socket_ready(AT_ARG(AT_REGISTER_DI, const struct sock *));
	return 0;
}

AT_PROGRAM(block_rq_complete, block_rq_complete)
{
	request_done(AT_ARG(0, struct request *), AT_ARG(2, __u32));
	return 0;
}

AT_PROGRAM(io_uring_complete, io_uring_complete)
{
	uring_done(AT_ARG(2, __u64));
	return 0;
}

AT_PROGRAM(sys_enter, sys_enter)
{
	enter_syscall();
	return 0;
}

AT_PROGRAM(sys_exit, sys_exit)
{
	leave_syscall();
	return 0;
}

AT_PROGRAM(page_fault_user, page_fault_user)
{
	count_fault();
	return 0;
}

AT_FENTRY(fault_entry, handle_mm_fault)
{
	enter_fault();
	return 0;
}

AT_FEXIT(fault_exit, handle_mm_fault)
{
	leave_fault();
	return 0;
}

/* Run once on each CPU when the window opens: threads may run on without a switch. */
AT_RUN_ONCE(seed)
{
	seed_core();
	return 0;
}

AT_FORGET(threads)
AT_FORGET(conduits)
AT_LICENSE();
