// SPDX-License-Identifier: GPL-2.0-only
/*
 * The note's seven probes, one at a time: user space loads only the chosen probe's programs, and
 * the verifier drops what the others would do in them.
 *
 * The arguments used here are the same in v6.1, v6.12 and v6.18.
 */
#include "probe_irq.bpf.h"
#include "probe_task.bpf.h"
#include "probe_block.bpf.h"
#include "entries.bpf.h"

AT_COMMON_PROGRAMS()

AT_PROGRAM(napi_poll, napi_poll)
{
	struct napi_struct *napi = AT_ARG(0, struct napi_struct *);

	probe_poll(AT_READ(napi, napi_struct, dev));
	return 0;
}

AT_PROGRAM(sched_switch, sched_switch)
{
	probe_switch(AT_ARG(1, struct task_struct *), AT_ARG(2, struct task_struct *),
		     AT_ARG(3, __u32));
	return 0;
}

AT_PROGRAM(sys_enter, sys_enter)
{
	probe_syscall_entry(AT_ARG(1, long));
	return 0;
}

AT_PROGRAM(sys_exit, sys_exit)
{
	probe_syscall_exit();
	return 0;
}

AT_PROGRAM(block_rq_issue, block_rq_issue)
{
	probe_issue(AT_ARG(0, struct request *));
	return 0;
}

AT_PROGRAM(block_rq_complete, block_rq_complete)
{
	probe_complete(AT_ARG(0, struct request *), AT_ARG(1, __u8), AT_ARG(2, __u32));
	return 0;
}

AT_PROGRAM(block_rq_requeue, block_rq_requeue)
{
	probe_requeue(AT_ARG(0, struct request *));
	return 0;
}

AT_PROGRAM(block_rq_merge, block_rq_merge)
{
	probe_merge(AT_ARG(0, struct request *));
	return 0;
}

AT_PROGRAM(page_fault_user, page_fault_user)
{
	probe_user_fault(AT_ARG(1, const __u64 *));
	return 0;
}

AT_FENTRY(fault_entry, handle_mm_fault)
{
	probe_fault_entry(AT_ARG(1, __u64));
	return 0;
}

/* Its four arguments, then what it returns. */
AT_FEXIT(fault_exit, handle_mm_fault)
{
	probe_fault_exit(AT_ARG(4, __u32));
	return 0;
}

AT_FORGET(probe_threads)
AT_LICENSE();
