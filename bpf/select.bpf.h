/* SPDX-License-Identifier: GPL-2.0-only */
/* Which tasks are the agent: decided anew at each event, so that renames and execs count at once. */
#ifndef AGENTTUNE_SELECT_BPF_H
#define AGENTTUNE_SELECT_BPF_H

#include "context.bpf.h"

#define MAX_CGROUP_LEVELS 64

static __always_inline bool comm_selected(struct at_comm comm)
{
	__u64 low = comm.words[0], high = comm.words[1];

	for (__u32 i = 0; i < AT_SELECTORS && i < at_params()->nr_comms; i++)
		if (at_params()->comms[i][0] == low && at_params()->comms[i][1] == high)
			return true;
	return false;
}

static __always_inline bool tgid_selected(struct task_struct *task)
{
	__u32 tgid = AT_READ(task, task_struct, tgid);

	for (__u32 i = 0; i < AT_SELECTORS && i < at_params()->nr_tgids; i++)
		if (at_params()->tgids[i] == tgid)
			return true;
	return false;
}

static __always_inline bool cgroup_id_selected(__u64 id)
{
	for (__u32 i = 0; i < AT_SELECTORS && i < at_params()->nr_cgroups; i++)
		if (at_params()->cgroups[i] == id)
			return true;
	return false;
}

/* Walks the ancestors once per cgroup; ancestors[] includes the cgroup itself. */
AT_SUBPROGRAM __u32 cgroup_below_selected(__u64 cgroup, int level)
{
	for (int i = 0; i < MAX_CGROUP_LEVELS && i <= level; i++) {
		/* Else compilers count down to 0, which v6.1's verifier takes for endless. */
		__asm__ volatile("" : "+r"(i));
		struct cgroup *ancestor =
			AT_PROBE_ELEMENT((struct cgroup *)cgroup, cgroup, ancestors, i);
		struct kernfs_node *node = AT_PROBE(ancestor, cgroup, kn);

		if (cgroup_id_selected(AT_PROBE(node, kernfs_node, id)))
			return 1;
	}
	return 0;
}

static __always_inline bool cgroup_selected(struct task_struct *task)
{
	struct css_set *set = AT_READ(task, task_struct, cgroups);
	struct cgroup *cgroup = AT_READ(set, css_set, dfl_cgrp);
	struct kernfs_node *node = AT_READ(cgroup, cgroup, kn);
	__u64 id = AT_READ(node, kernfs_node, id);
	__u32 *known, verdict;

	known = at_lookup(cgroups, &id);
	if (known)
		return *known;
	verdict = cgroup_below_selected((__u64)cgroup, AT_READ(cgroup, cgroup, level));
	at_update(cgroups, &id, &verdict, BPF_ANY);
	return verdict;
}

/* Kernel threads and agenttune itself are agents only by their pid. */
static __always_inline bool may_be_named(struct task_struct *task)
{
	return !(AT_READ(task, task_struct, flags) & AT_PF_KTHREAD) &&
	       (__u32)AT_READ(task, task_struct, tgid) != at_params()->self_tgid;
}

static __always_inline bool is_agent_named(struct task_struct *task, struct at_comm comm)
{
	if (at_params()->nr_tgids && tgid_selected(task))
		return true;
	return ((at_params()->nr_comms && comm_selected(comm)) ||
		(at_params()->nr_cgroups && cgroup_selected(task))) &&
	       may_be_named(task);
}

static __always_inline bool is_agent(struct task_struct *task)
{
	if (at_params()->nr_tgids && tgid_selected(task))
		return true;
	return ((at_params()->nr_comms && comm_selected(comm_of(task))) ||
		(at_params()->nr_cgroups && cgroup_selected(task))) &&
	       may_be_named(task);
}

#endif
