/* SPDX-License-Identifier: GPL-2.0-only */
/* What a watched thread does on its CPU: user code, a system call, a page fault. */
#ifndef AGENTTUNE_SYSCALL_BPF_H
#define AGENTTUNE_SYSCALL_BPF_H

#include "core.bpf.h"

/* The current thread, when it is watched and its turn was seen to begin. */
static __always_inline struct at_thread *running_thread(void)
{
	struct at_thread *thread = thread_of(at_current());

	return thread && thread->state == AT_RUNNING ? thread : NULL;
}

static __always_inline void enter_syscall(void)
{
	struct at_core *core = open_core();
	struct at_thread *thread;

	if (!core)
		return;
	thread = running_thread();
	if (thread)
		at_thread_mode(thread, &core->frames, AT_SYSCALL, stable_stamp(&core->frames));
}

/* Since the switch-in nothing was accounted but this: `since` is still the switch-in. */
static __always_inline void leave_syscall(void)
{
	struct at_core *core = open_core();
	struct at_thread *thread;
	struct at_stamp now;

	if (!core)
		return;
	thread = running_thread();
	if (!thread)
		return;
	now = stable_stamp(&core->frames);
	if (thread->resuming) {
		record_leg(AT_LEG_RESUME, now.now_ns - thread->since.now_ns);
		thread->resuming = 0;
	}
	at_thread_mode(thread, &core->frames, AT_RUN, now);
}

static __always_inline void enter_fault(void)
{
	struct at_core *core = open_core();
	struct at_thread *thread;

	if (!core)
		return;
	thread = running_thread();
	if (thread && thread->mode != AT_FAULT)
		thread->mode_before = at_thread_mode(thread, &core->frames, AT_FAULT,
						     stable_stamp(&core->frames));
}

static __always_inline void leave_fault(void)
{
	struct at_core *core = open_core();
	struct at_thread *thread;

	if (!core)
		return;
	thread = running_thread();
	if (thread && thread->mode == AT_FAULT)
		at_thread_mode(thread, &core->frames, thread->mode_before,
			       stable_stamp(&core->frames));
}

/* Every fault from user mode, also those that no longer block. */
static __always_inline void count_fault(void)
{
	struct at_thread *thread = open_core() ? running_thread() : NULL;

	if (thread)
		thread->counts.faults++;
}

#endif
