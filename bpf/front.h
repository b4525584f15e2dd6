/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the two engines; everything else in this directory is shared.
 *
 * libbpf (front_core.h): BTF raw tracepoints, objects compiled when the package is built.
 * bcc (front_bcc.h): raw tracepoints, compiled on the host by agenttune/measure/bcc.py.
 *
 * Maps       AT_HASH, AT_ARRAY, AT_PERCPU_ARRAY, AT_RING, AT_THREADS declare them;
 *            at_lookup, at_update, at_delete, at_lookup_percpu take their names;
 *            AT_MAP is a map as a function's argument, for at_lookup_in and at_update_in.
 * Globals    AT_CONSTANT(type, name), then at_name(), a pointer to what user space sets before
 *            loading; AT_VARIABLE(name), then at_name(), a number that it sets at any time;
 *            AT_PARAMS(type), then at_params(); AT_WINDOW(), then at_window_open();
 *            AT_ZERO(type, name), then at_zero(name).
 * Threads    at_thread_get, at_thread_make: one value for each thread; AT_FORGET(map) is the program
 *            that drops it where the map is a hash table by thread id.
 * Ring       at_ring_reserve, at_ring_submit, at_ring_discard, at_ring_output.
 * Fields     AT_READ and its kin read the structs that kernel.h declares.
 * Programs   AT_PROGRAM(name, tracepoint), AT_KPROBE(name, function), AT_RUN_ONCE(name);
 *            AT_FENTRY(name, function), AT_FEXIT(name, function) (libbpf only);
 *            AT_ARG(n, type) in their bodies: argument, 64-bit word of pt_regs.
 */
#ifndef AGENTTUNE_FRONT_H
#define AGENTTUNE_FRONT_H

#ifdef AT_BCC
#include "front_bcc.h"
#else
#include "front_core.h"
#endif

#define AT_PARAMS(type) AT_CONSTANT(type, params)
#define AT_WINDOW() AT_VARIABLE(window)
#define at_window_open() at_window()

static __always_inline void *at_thread_by_id(void *threads, __u32 tid)
{
	return at_lookup_in(threads, &tid);
}

static __always_inline void *at_thread_add(void *threads, __u32 tid, const void *first)
{
	void *thread = at_lookup_in(threads, &tid);

	if (thread)
		return thread;
	at_update_in(threads, &tid, first, BPF_NOEXIST);
	return at_lookup_in(threads, &tid);
}

/*
 * When the kernel frees the thread: at sched_process_exit its state would come back, as an exiting
 * thread may still sleep.
 */
#define AT_FORGET(name)                                                                            \
	AT_PROGRAM(forget_##name, sched_process_free)                                              \
	{                                                                                          \
		__u32 tid = AT_READ(AT_ARG(0, struct task_struct *), task_struct, pid);            \
                                                                                                   \
		at_delete(name, &tid);                                                             \
		return 0;                                                                          \
	}

#endif
