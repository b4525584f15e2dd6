/* SPDX-License-Identifier: GPL-2.0-only */
/* Why code runs, as far back as an interrupt or a task. Part of stages.h. */
#ifndef AGENTTUNE_CAUSE_H
#define AGENTTUNE_CAUSE_H

#ifndef NULL
#define NULL ((void *)0)
#endif
#define AT_INLINE static inline __attribute__((always_inline))
/*
 * Rarely run, and called from many places: a front-end may define it so that a verifier goes
 * through it once (a global function, v5.13: e5069b9c23b3; its pointers may be NULL to it).
 */
#ifndef AT_ONCE
#define AT_ONCE AT_INLINE
#endif
/* Where a verifier follows a loop worse than its copies. */
#ifdef __clang__
#define AT_UNROLL _Pragma("unroll")
#else
#define AT_UNROLL
#endif
#define AT_UNKNOWN (~0ULL)
#define AT_COMM_WORDS 2

/* at_cause.flags */
enum {
	AT_CAUSE_IRQ = 1, /* irq and irq_cpu are known; irq_ns too, if its leg is part of it */
	AT_CAUSE_TASK = 2, /* a task began it: origin */
	AT_CAUSE_SHARED = 4, /* the softirq may work for several interrupts: `irq` is the first */
	AT_CAUSE_KSOFTIRQD = 8, /* the softirq ran in ksoftirqd */
	AT_CAUSE_THREAD = 16, /* a kernel thread carried it on: conduit, thread_ns */
	AT_CAUSE_HIDDEN_IRQ = 32, /* a hardirq that no tracepoint shows */
};

/* at_task_frame.flags */
enum { AT_TASK_KSOFTIRQD = 1, AT_TASK_KTHREAD = 2 };

/* Times are CLOCK_MONOTONIC; 0 means that this leg is not part of it. */
struct at_cause {
	__u64 irq_ns; /* hardirq entry */
	__u64 raise_ns; /* softirq raise */
	__u64 entry_ns; /* softirq entry */
	__u64 thread_ns; /* waking of the first kernel thread in a row that carried it on */
	__u32 irq;
	__u32 origin; /* tid */
	__u32 conduit; /* tid of the last kernel thread */
	__u16 irq_cpu;
	__u16 flags;
};

enum at_completion_kind { AT_NO_COMPLETION, AT_SOCKET, AT_BLOCK, AT_URING, AT_TIMER };

/* What completed in a frame: a socket became readable, a request is done, a cqe is posted. */
struct at_completion {
	__u64 done_ns;
	__u64 subject; /* socket cookie; dev_t; user_data */
	__u64 latency_ns; /* of a block request, issue to completion; else 0 */
	__u32 kind;
	__u32 bytes; /* of a block request; else 0 */
};

/* One completion from device to waking. */
struct at_chain {
	struct at_cause cause;
	struct at_completion done;
	__u32 vector; /* softirq vector + 1, when it woke from a softirq; else 0 */
	__u32 cpu; /* of the waking */
};

#endif
