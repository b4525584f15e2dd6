/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's types, as far as they are read here; CO-RE finds the real offsets. */
#ifndef AGENTTUNE_KERNEL_H
#define AGENTTUNE_KERNEL_H

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h, v6.1 to v6.18 */
#define HARDIRQ_MASK 0x000f0000 /* include/linux/preempt.h, v6.1 to v6.18 */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	char name[16];
	possible_net_t nd_net;
};

struct napi_struct {
	struct net_device *dev;
};

struct irqaction {
	struct irqaction *next;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
	int level;
	struct cgroup *ancestors[0]; /* since v6.1: 7f203bc89eb6 */
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct sched_entity {
	unsigned char sched_delayed; /* since v6.12: 152e11f6df29 */
};

struct task_struct {
	unsigned int flags;
	int on_cpu;
	int on_rq;
	struct sched_entity se;
	int pid;
	int tgid;
	char comm[16];
	struct css_set *cgroups;
};

/* x86 per-CPU hot data from v6.2 (64701838bf05) to v6.14 (46e8fff6d45f, c8f1ac2bd777). */
struct pcpu_hot {
	int preempt_count;
	__u16 softirq_pending;
};

typedef struct {
	__u16 __softirq_pending; /* until v6.2 */
} irq_cpustat_t;

#pragma clang attribute pop

extern const int __preempt_count __ksym __weak;
extern const __u16 __softirq_pending __ksym __weak;
extern const struct pcpu_hot pcpu_hot __ksym __weak;
extern const irq_cpustat_t irq_stat __ksym __weak;

#endif
