/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's types, as far as they are read here; each engine finds the real offsets.
 *
 * agenttune/measure/btf.py reads this file too: one field a line, no bit fields. AT_KERNEL(type) is
 * the type's name; it keeps clear of the kernel's own headers under bcc.
 */
#ifndef AGENTTUNE_KERNEL_H
#define AGENTTUNE_KERNEL_H

#define AT_PF_KTHREAD 0x00200000 /* include/linux/sched.h, v6.1 to v6.18 */
#define AT_HARDIRQ_MASK 0x000f0000 /* include/linux/preempt.h, v6.1 to v6.18 */

#ifndef AT_BCC
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
#endif

struct AT_KERNEL(ns_common) {
	unsigned int inum;
};

struct AT_KERNEL(net) {
	struct AT_KERNEL(ns_common) ns;
};

typedef struct {
	struct net *net;
} AT_KERNEL(possible_net_t);

struct AT_KERNEL(net_device) {
	char name[16];
	AT_KERNEL(possible_net_t) nd_net;
};

struct AT_KERNEL(napi_struct) {
	struct net_device *dev;
};

struct AT_KERNEL(irqaction) {
	const char *name;
	struct irqaction *next;
};

struct AT_KERNEL(kernfs_node) {
	__u64 id;
};

struct AT_KERNEL(cgroup) {
	struct kernfs_node *kn;
	int level;
	struct cgroup *ancestors[0]; /* since v6.1: 7f203bc89eb6 */
};

struct AT_KERNEL(css_set) {
	struct cgroup *dfl_cgrp;
};

struct AT_KERNEL(cfs_rq) {
	int throttle_count; /* with CONFIG_CFS_BANDWIDTH */
};

struct AT_KERNEL(sched_entity) {
	unsigned char sched_delayed; /* since v6.12: 152e11f6df29 */
	struct cfs_rq *cfs_rq; /* with CONFIG_FAIR_GROUP_SCHED */
};

struct AT_KERNEL(inode) {
	unsigned short i_mode;
	unsigned long i_ino;
};

struct AT_KERNEL(file) {
	struct inode *f_inode;
};

struct AT_KERNEL(fdtable) {
	unsigned int max_fds;
	struct file **fd;
};

struct AT_KERNEL(files_struct) {
	struct fdtable *fdt;
};

struct AT_KERNEL(gendisk) {
	int major;
	int first_minor;
	char disk_name[32];
};

struct AT_KERNEL(request_queue) {
	struct gendisk *disk; /* since v5.15: d152c682f03c */
};

struct AT_KERNEL(request) {
	struct request_queue *q;
	unsigned int cmd_flags;
	unsigned int __data_len;
	__u64 start_time_ns;
};

typedef struct {
	__s64 counter;
} AT_KERNEL(atomic64_t);

struct AT_KERNEL(sock_common) {
	AT_KERNEL(atomic64_t) skc_cookie;
};

struct AT_KERNEL(sock) {
	struct AT_KERNEL(sock_common) __sk_common;
};

struct AT_KERNEL(io_uring_cqe) {
	__u64 user_data;
};

struct AT_KERNEL(thread_info) {
	unsigned int status; /* x86 */
	__u32 cpu; /* since v5.16, with CONFIG_THREAD_INFO_IN_TASK: bcf9033e5449 */
};

struct AT_KERNEL(task_struct) {
	struct AT_KERNEL(thread_info) thread_info;
	unsigned int flags;
	unsigned int __state; /* since v5.14: 2f064a59a11f */
	unsigned char throttled; /* since v6.18, with CONFIG_CFS_BANDWIDTH: throttled itself, not its group */
	void *stack;
	struct files_struct *files;
	int on_cpu;
	int on_rq;
	struct AT_KERNEL(sched_entity) se;
	int pid;
	int tgid;
	char comm[16];
	struct css_set *cgroups;
};

/* x86 per-CPU hot data from v6.2 (64701838bf05) to v6.14 (46e8fff6d45f, c8f1ac2bd777). */
struct AT_KERNEL(pcpu_hot) {
	int preempt_count;
	__u16 softirq_pending;
};

typedef struct {
	__u16 __softirq_pending; /* until v6.2 */
} AT_KERNEL(irq_cpustat_t);

#ifndef AT_BCC
#pragma clang attribute pop
#endif

#endif
