/* SPDX-License-Identifier: GPL-2.0-only */
/* The attached threads: who they are, how long they live, how a probe finds one. */
#ifndef AGENT_AGENTS_H
#define AGENT_AGENTS_H

#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/uidgid.h>

#include "stages.h"
#include "uapi/agent_latency.h"

/* Attached threads in all; each takes about 8 KiB. */
#define AGENTS_MOST 4096
/* Device interrupts that completed for an agent lately. */
#define AGENT_IRQS 8

/* The device completions of one step, and the chain of the last. */
struct agent_told {
	u32 completions; /* in all */
	u32 running; /* of these, those that did not have to wake the thread */
	int irq; /* -1: none, or not known */
	int softirq; /* -1: none */
	u32 cpu;
	u64 chain_ns;
};

/*
 * One attached thread.
 *
 * Lifetime: an agent is in the table from agents_attach() to agents_detach(), the thread's exit or
 * exec, or the last close of its file, whichever comes first; that one removes it, under
 * agents_lock, and frees it after a grace period. Probes and agents_each() use it inside an RCU
 * read side only, so they need no reference. `task` is referenced until the agent is freed: its
 * address names no other thread while the agent can be found.
 *
 * Locking: `lock` is raw, for it nests inside pi_lock and the run queue's lock (sched_waking,
 * sched_switch); nothing is locked inside it. Interrupts are off while it is held. It guards all
 * that follows it. `cpu` and `irqs` are written under it, and read as they are by others.
 */
struct agent {
	struct task_struct *task;
	struct agent_file *file; /* whose page `slot` is in; that page outlives the agent */
	const struct agent_latency_slot *slot; /* read under `lock`, unless `retired` */
	struct hlist_node node; /* in the table */
	struct rcu_head rcu;
	kuid_t uid;
	u64 serial; /* no other agent ever has it */

	raw_spinlock_t lock;
	bool retired; /* out of the table: probes that found it before leave it alone */
	unsigned int cpu; /* where it ran last, or AGENT_NO_CPU */
	u32 irqs[AGENT_IRQS]; /* device interrupts, in no order */
	u32 nr_irqs; /* how many were ever put there; the next goes to nr_irqs % AGENT_IRQS */
	u64 told_key; /* the chain whose waking, if it comes, was told before it came; 0: none */
	u64 seen_id; /* the slot's step that is open in `thread`; 0: none */
	u32 seen_begun; /* the slot's `begun` when it was read last */
	u64 steps; /* ended */
	u64 unseen_steps; /* begun in the slot, and over before anything happened */
	u64 completions;
	u64 running;
	u64 refused; /* steps begun while as many were open as are followed */
	u64 stray; /* marks of steps that are not open */
	u64 unbound; /* sockets that found no place in the table of bound ones */
	u64 early_id; /* the step in the slot that `early` is of, before it is open in `thread` */
	struct agent_told early;
	struct agent_told told[AT_STEPS]; /* of thread.steps[] */
	struct at_thread thread;
};

/*
 * The agent of a task, or NULL. For probes, which have preemption off. One read decides for nearly
 * all tasks: a counting filter stands before the table.
 */
struct agent *agents_find(const struct task_struct *task);

/* Calls `visit` for each, inside an RCU read side: it must not sleep. */
void agents_each(void (*visit)(struct agent *agent, void *data), void *data);
unsigned int agents_count(void);

/*
 * Attaches a thread to a file. `slot` of its page is the agent's from here on: it is given back
 * when the agent is detached, or by a failure. Takes a reference on `task` of its own. May sleep.
 * -EEXIST, -ESRCH, -EDQUOT, -ENOMEM, or what registering the probes gave.
 */
int agents_attach(struct task_struct *task, struct agent_file *file,
		  const struct agent_latency_slot *slot, kuid_t uid, bool limited);

/* Detaches a thread that `file` attached; -ENOENT. The slot may be used again at once. */
int agents_detach(struct task_struct *task, const struct agent_file *file);

/* Detaches all threads of a file. Probes may use them up to a grace period longer. */
void agents_detach_all(const struct agent_file *file);

/* The thread exits or has called exec(): from probes in process context without scheduler locks. */
void agents_gone(struct task_struct *task);

int agents_init(void);
void agents_exit(void);

#endif
