/* SPDX-License-Identifier: GPL-2.0-only */
/* What `agenttune probe` keeps, shared with agenttune/measure/probe_layout.py. */
#ifndef AGENTTUNE_PROBE_H
#define AGENTTUNE_PROBE_H

#include "layout.h"

#define AT_SAMPLE_NAME_LEN 32
/* Recent interrupts of one CPU, to find an exit by its entry; a power of two. */
#define AT_EXITS 512

enum at_probe {
	AT_PROBE_IRQ,
	AT_PROBE_SOFTIRQ,
	AT_PROBE_WAKEUP,
	AT_PROBE_SYSCALL,
	AT_PROBE_BLOCK,
	AT_PROBE_FAULT,
	AT_PROBE_IRQ_TO_RUN,
};

/* What a histogram is of. Those from AT_S_FAULTS on only count: their samples are all 0. */
enum at_sample {
	AT_S_HANDLER, /* number: IRQ; name: action */
	AT_S_HANDLER_IDLE, /* the same, of handlers that found nothing to do */
	AT_S_ARCH, /* number: enum at_arch */
	AT_S_SOFTIRQ_TIME, /* number: vector */
	AT_S_SOFTIRQ_LATENCY, /* number: vector */
	AT_S_POLL, /* name: device; scope: its network namespace */
	AT_S_WAKEUP, /* name: comm, as in all that follow without another name */
	AT_S_SYSCALL, /* number: system call; scope: 1 for a 32-bit one */
	AT_S_READ, /* number: dev_t; name: disk */
	AT_S_WRITE,
	AT_S_FAULT_MINOR,
	AT_S_FAULT_MAJOR,
	AT_S_FAULT_WAIT,
	AT_S_RUN_NEAR, /* since the last handler's exit on this CPU */
	AT_S_RUN_EXACT, /* since the waking interrupt's exit; number: IRQ; scope: 1 when shared */
	AT_S_FAULTS,
	AT_S_POLL_ELSEWHERE, /* polls outside NET_RX: by a thread of its own, or busy */
	AT_S_LARGE, /* number: dev_t; name: disk */
	AT_S_FAILED,
	AT_S_REQUEUED,
	AT_S_RUN_EARLY, /* ran before the interrupt's handler returned */
	AT_S_RUN_NO_IRQ, /* woken by a task, or only preempted */
};

struct at_probe_params {
	__u32 probe;
	__u32 max_bytes;
};

/* The CPU is part of the key, so every histogram has one writer and needs no atomics. */
struct at_sample_key {
	__u32 sample;
	__u32 number;
	__u32 scope;
	__u32 cpu;
	/* The reporting interval's parity: one is read while the other fills. */
	__u32 parity;
	char name[AT_SAMPLE_NAME_LEN];
};

struct at_probe_cpu {
	struct at_cpu frames;
	__u64 lost;
	__u64 coalesced;
	/* When this CPU's NAPI poll began: NET_RX's entry, or the poll before it. */
	struct at_stamp poll;
	__u64 last_exit_ns;
};

struct at_exit {
	__u64 entry_ns;
	__u64 exit_ns;
};

struct at_exits {
	struct at_exit of[AT_EXITS];
};

/* What a thread is in the middle of; 0 ns: nothing. */
struct at_probe_thread {
	__u64 waking_ns;
	__u64 syscall_ns;
	__u64 fault_ns;
	__u64 fault_address;
	__u64 fault_ip;
	__u64 wait_ns;
	__u64 exit_ns;
	struct at_cause cause;
	__u32 syscall;
	__u32 flags;
};

/* at_probe_thread.flags */
enum { AT_MAJOR = 1, AT_RETRIED = 2 };

struct at_request {
	__u64 issue_ns;
	__u32 bytes;
	__u32 sample;
};

#endif
