/* SPDX-License-Identifier: GPL-2.0-only */
/* Which tasks are the agent: decided anew at each event, so that renames and execs count at once. */
#ifndef AGENTTUNE_SELECT_BPF_H
#define AGENTTUNE_SELECT_BPF_H

#include "context.bpf.h"

#define MAX_CGROUP_LEVELS 64

static __always_inline bool comm_selected(const __u64 *comm)
{
	__u64 low = comm[0], high = comm[1];

	for (__u32 i = 0; i < AT_SELECTORS && i < params.nr_comms; i++)
		if (params.comms[i][0] == low && params.comms[i][1] == high)
			return true;
	return false;
}

static __always_inline bool tgid_selected(struct task_struct *task)
{
	__u32 tgid = task->tgid;

	for (__u32 i = 0; i < AT_SELECTORS && i < params.nr_tgids; i++)
		if (params.tgids[i] == tgid)
			return true;
	return false;
}

static __always_inline bool cgroup_id_selected(__u64 id)
{
	for (__u32 i = 0; i < AT_SELECTORS && i < params.nr_cgroups; i++)
		if (params.cgroups[i] == id)
			return true;
	return false;
}

/* Walks the ancestors once per cgroup; ancestors[] includes the cgroup itself. */
static __noinline __u32 cgroup_below_selected(__u64 address, int level)
{
	struct cgroup *cgroup = (struct cgroup *)address;

	for (int i = 0; i < MAX_CGROUP_LEVELS && i <= level; i++) {
		struct cgroup *ancestor = NULL;

		bpf_core_read(&ancestor, sizeof(ancestor), &cgroup->ancestors[i]);
		if (cgroup_id_selected(BPF_CORE_READ(ancestor, kn, id)))
			return 1;
	}
	return 0;
}

static __always_inline bool cgroup_selected(struct task_struct *task)
{
	struct cgroup *cgroup = task->cgroups->dfl_cgrp;
	__u64 id = cgroup->kn->id;
	__u32 *known, verdict;

	known = bpf_map_lookup_elem(&cgroups, &id);
	if (known)
		return *known;
	verdict = cgroup_below_selected((__u64)cgroup, cgroup->level);
	bpf_map_update_elem(&cgroups, &id, &verdict, BPF_ANY);
	return verdict;
}

/* Kernel threads and agenttune itself are agents only by their pid. */
static __always_inline bool is_agent_named(struct task_struct *task, const __u64 *comm)
{
	if (params.nr_tgids && tgid_selected(task))
		return true;
	return ((params.nr_comms && comm_selected(comm)) ||
		(params.nr_cgroups && cgroup_selected(task))) &&
	       !(task->flags & PF_KTHREAD) && (__u32)task->tgid != params.self_tgid;
}

static __always_inline bool is_agent(struct task_struct *task)
{
	return is_agent_named(task, comm_words(task));
}

#endif
