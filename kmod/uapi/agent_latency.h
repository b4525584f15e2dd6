/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * /dev/agent_latency: what a program and the module agent_latency say to each other.
 *
 * The module follows *attached* threads: which interrupt, softirq and CPU brought the completion
 * that each of their steps waited for, and what was stolen from them while they ran. A step is one
 * turn of an agent's control loop, named by a number. Nothing is recorded of what a thread
 * computes, sends or receives.
 *
 * Attaching
 * ---------
 * Open the device (O_RDWR | O_CLOEXEC) and call AGENT_LATENCY_ATTACH for each thread. Anybody may
 * attach the threads of the own process; threads of other processes take CAP_SYS_PTRACE. A thread
 * is attached once, by one file. It stays so until AGENT_LATENCY_DETACH, its exit, its exec(), or
 * until the last descriptor of the file is closed. fork() attaches nothing: a child attaches
 * itself. Each user may have `max_agents_per_user` (module parameter) threads attached; there is
 * no such limit with CAP_SYS_RESOURCE. A file has AGENT_LATENCY_SLOTS threads at most.
 *
 * Marking steps
 * -------------
 * 1. By prctl(0x41475354, ...), as agenttune.h describes it, where AGENT_LATENCY_PRCTL is among
 *    the features. Up to eight steps may be open on a thread; a step begins and ends exactly at
 *    the call.
 * 2. By a plain store. mmap() one page of the device at offset 0, MAP_SHARED. ATTACH clears and
 *    returns the thread's slot: struct agent_latency_slot number `slot` of that page, which only
 *    that thread writes:
 *
 *        begin   slot->begin_ns = now;        CLOCK_MONOTONIC, or 0
 *                slot->deadline_ns = ...;     and budget_us, kind
 *                slot->begun++;
 *                store-release slot->step_id = id;
 *        end     slot->end_ns = now;          CLOCK_MONOTONIC, or 0
 *                store-release slot->step_id = 0;
 *
 *    The module reads the slot when something happens to the thread: a waking, a switch, an
 *    interrupt on its CPU. What completes is attributed to the step that is stored at that moment.
 *    The step's begin and end are the times stored, kept between the event before and the event
 *    after; without them (0) they are the event after. A step during which nothing happened at all
 *    is never seen; `begun` lets the module say how many those were. One step at a time.
 *
 *    The page is not inherited over fork(). munmap() does not detach.
 *
 * Use one of the two ways on a thread, not both.
 *
 * Answers
 * -------
 * Trace events: agent_latency:agent_step_begin, agent_step_end, agent_irq_stage. For root, debugfs
 * agent_latency/agents has a line for each attached thread, agent_latency/steps one for each of
 * the steps that ended last.
 *
 * Compatibility
 * -------------
 * All structures have the same layout for 32 and 64 bit programs. `size` is that of the structure
 * that the program knows: a module that knows a longer one fills in as much; a module that knows a
 * shorter one leaves the rest as it was, and takes only zeros there (else E2BIG).
 */
#ifndef _UAPI_AGENT_LATENCY_H
#define _UAPI_AGENT_LATENCY_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define AGENT_LATENCY_VERSION 1
/* The least `size`: what version 1 of each structure holds. */
#define AGENT_LATENCY_SIZE_MIN 16

#define AGENT_LATENCY_PAGE_BYTES 4096
#define AGENT_LATENCY_SLOT_BYTES 64
#define AGENT_LATENCY_SLOTS (AGENT_LATENCY_PAGE_BYTES / AGENT_LATENCY_SLOT_BYTES)

/* agent_latency_info.features: what this kernel lets the module see. */
#define AGENT_LATENCY_PRCTL 1 /* prctl() marks */
#define AGENT_LATENCY_BLOCK 2 /* block completions that find their thread running */
#define AGENT_LATENCY_SOCKET 4 /* the same for bound sockets */
#define AGENT_LATENCY_NAPI 8 /* which interrupt's NAPI a NET_RX softirq serves */
#define AGENT_LATENCY_GUARDRAIL 16 /* bounds on agent CPUs can be set */

/* agent_latency_slot.kind; as in agenttune.h */
#define AGENT_LATENCY_OTHER 0
#define AGENT_LATENCY_TOOL 1
#define AGENT_LATENCY_MODEL 2

struct agent_latency_slot {
	__u64 step_id; /* 0: no step */
	__u64 begin_ns;
	__u64 end_ns;
	__u64 deadline_ns; /* CLOCK_MONOTONIC; 0: none */
	__u32 budget_us; /* 0: none */
	__u32 kind;
	__u32 begun;
	__u32 reserved[5]; /* 0 */
};

struct agent_latency_info {
	__u32 size; /* in */
	__u32 version;
	__u64 features;
	__u32 attached; /* threads, through this file */
	__u32 reserved;
};

struct agent_latency_attach {
	__u32 size; /* in */
	__s32 tid; /* in: as gettid() tells it in the caller's pid namespace; 0: the caller */
	__u32 slot; /* out, from ATTACH */
	__u32 flags; /* in: 0 */
};

#define AGENT_LATENCY_MAGIC 0xA7

/* EFAULT; E2BIG */
#define AGENT_LATENCY_INFO _IOWR(AGENT_LATENCY_MAGIC, 0, struct agent_latency_info)
/*
 * ESRCH no such thread, or it is exiting; EPERM another process's; EINVAL a kernel thread, or flags
 * that are not known; EEXIST attached already; EDQUOT the user's limit; ENOSPC no free slot;
 * ENOMEM; EFAULT; E2BIG
 */
#define AGENT_LATENCY_ATTACH _IOWR(AGENT_LATENCY_MAGIC, 1, struct agent_latency_attach)
/* ENOENT: this file did not attach it; else as ATTACH */
#define AGENT_LATENCY_DETACH _IOWR(AGENT_LATENCY_MAGIC, 2, struct agent_latency_attach)

#endif
