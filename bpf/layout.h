/* SPDX-License-Identifier: GPL-2.0-only */
/* Map keys and values, shared with agenttune/measure/layout.py. */
#ifndef AGENTTUNE_LAYOUT_H
#define AGENTTUNE_LAYOUT_H

#include "stages.h"
#include "histogram.h"

#define AT_COMM_LEN 16
#define AT_NAME_LEN 16
#define AT_SELECTORS 16

/* x86 interrupts without a number, in the order of /proc/interrupts' rows they belong to. */
enum at_arch { AT_LOC, AT_RES, AT_CAL, AT_CAL_SINGLE, AT_IWI, AT_ARCHS };
/* Hardirq frame ids above every IRQ number (MAX_SPARSE_IRQS, kernel/irq/internals.h). */
#define AT_ARCH_ID 0xffff0000u

struct at_params {
	__u64 comms[AT_SELECTORS][AT_COMM_LEN / 8];
	__u64 cgroups[AT_SELECTORS];
	__u32 tgids[AT_SELECTORS];
	__u32 nr_comms;
	__u32 nr_cgroups;
	__u32 nr_tgids;
	/* agenttune's own process; 0 where its id is unknown. */
	__u32 self_tgid;
};

struct at_agent_key {
	__u32 tgid;
	__u32 cpu;
	__u64 comm[AT_COMM_LEN / 8];
};

struct at_agent {
	__u64 run_ns;
	__u64 stolen_ns;
	__u64 turns;
};

struct at_state {
	struct at_cpu frames;
	__u64 lost;
	__u64 coalesced;
	/* The agent that runs here now: agent.tgid 0 means none. */
	struct at_agent_key agent;
};

struct at_irq_key {
	__u32 irq;
	__u32 cpu;
};

struct at_irq {
	__u64 count;
	struct at_histogram times;
};

struct at_load {
	__u64 count;
	__u64 time_ns;
};

struct at_softirq {
	__u64 count;
	__u64 ksoftirqd_ns;
	struct at_histogram times;
	struct at_histogram latencies;
};

struct at_napi_key {
	__u32 netns;
	__u32 cpu;
	char device[AT_NAME_LEN];
};

struct at_napi {
	__u64 polls;
	__u64 exhausted;
	struct at_histogram packets;
};

struct at_waking {
	__u64 waking_ns;
	__u32 context;
	__u32 pad;
};

#endif
