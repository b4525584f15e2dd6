// SPDX-License-Identifier: GPL-2.0-only
/* The attached threads: who they are, how long they live, how a probe finds one. */
#include <linux/atomic.h>
#include <linux/cred.h>
#include <linux/hash.h>
#include <linux/list.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/rculist.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "agents.h"
#include "attribution.h"
#include "core.h"
#include "cpus.h"
#include "device.h"
#include "placement.h"
#include "step.h"
#include "turn.h"

/* Twelve bits of the task's address: 4096 counts in one page, and as many lists. */
#define TABLE_BITS 12

static unsigned int max_agents_per_user = 256;
module_param(max_agents_per_user, uint, 0644);
MODULE_PARM_DESC(max_agents_per_user,
		 "attached threads per user without CAP_SYS_RESOURCE (default: 256)");

/*
 * A count of the agents that hash to it stands before each list. A probe that reads 0 is done, and
 * the counts of all the lists share 128 cache lines. Written under agents_lock.
 */
static u16 filter[1 << TABLE_BITS];
static struct hlist_head table[1 << TABLE_BITS];
static unsigned int count;
/* Raw: agents_gone() runs with preemption off. Nothing is locked inside it. */
static DEFINE_RAW_SPINLOCK(agents_lock);

static atomic64_t serials;

/* Whether the probes are registered. Registering sleeps; probing_lock is not taken by probes. */
static bool probing;
static DEFINE_MUTEX(probing_lock);

static unsigned int hash_of(const struct task_struct *task)
{
	return hash_ptr(task, TABLE_BITS);
}

struct agent *agents_find(const struct task_struct *task)
{
	unsigned int hash = hash_of(task);
	struct agent *agent;

	if (likely(!READ_ONCE(filter[hash])))
		return NULL;
	/* Preemption is off in every caller, which is an RCU read side (since v5.0). */
	hlist_for_each_entry_rcu_notrace(agent, &table[hash], node)
		if (agent->task == task)
			return agent;
	return NULL;
}

void agents_each(void (*visit)(struct agent *agent, void *data), void *data)
{
	struct agent *agent;
	unsigned int hash;

	rcu_read_lock();
	for (hash = 0; hash < ARRAY_SIZE(table); hash++)
		hlist_for_each_entry_rcu(agent, &table[hash], node)
			visit(agent, data);
	rcu_read_unlock();
}

unsigned int agents_count(void)
{
	return READ_ONCE(count);
}

static void stop_probing(struct work_struct *work)
{
	mutex_lock(&probing_lock);
	if (probing && !agents_count()) {
		agent_attribution_stop();
		probing = false;
	}
	mutex_unlock(&probing_lock);
	agent_placement_follow();
}

static DECLARE_WORK(stop_work, stop_probing);

static void free_agent(struct rcu_head *rcu)
{
	struct agent *agent = container_of(rcu, struct agent, rcu);

	agent_file_put(agent->file);
	put_task_struct(agent->task);
	kfree(agent);
}

/* With agents_lock held: nobody finds it from now on. False when another was quicker. */
static bool take_out(struct agent *agent)
{
	lockdep_assert_held(&agents_lock);
	if (hlist_unhashed(&agent->node))
		return false;
	hlist_del_init_rcu(&agent->node);
	WRITE_ONCE(filter[hash_of(agent->task)], filter[hash_of(agent->task)] - 1);
	WRITE_ONCE(count, count - 1);
	return true;
}

/* The last that happens to a thread which goes by itself: its slot may tell of a step's end. */
static void read_last(struct agent *agent)
{
	const struct at_cpu *frames = &this_cpu_ptr(&agent_cores)->frames;

	if (agent->task == current && agent->thread.state == AT_RUNNING)
		agent_step_sync(agent, frames, at_stamp(frames, agent_now_ns()));
}

/*
 * After take_out(), outside of agents_lock. A probe that found the agent before may wait for its
 * lock; `retired` tells it to go, so that it does not count the agent as resident of a CPU again,
 * nor read the slot, which may be another's from here on.
 */
static void retire(struct agent *agent)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&agent->lock, flags);
	read_last(agent);
	agent_cpus_move(agent->cpu, AGENT_NO_CPU);
	agent->cpu = AGENT_NO_CPU;
	agent->retired = true;
	raw_spin_unlock_irqrestore(&agent->lock, flags);
	agent_file_free_slot(agent->file, agent->slot);
	call_rcu(&agent->rcu, free_agent);
	if (!agents_count())
		schedule_work(&stop_work);
}

static unsigned int count_of_user(kuid_t uid)
{
	unsigned int hash, found = 0;
	struct agent *agent;

	lockdep_assert_held(&agents_lock);
	for (hash = 0; hash < ARRAY_SIZE(table); hash++) {
		if (!filter[hash])
			continue;
		hlist_for_each_entry(agent, &table[hash], node)
			found += uid_eq(agent->uid, uid);
	}
	return found;
}

static int put_in(struct agent *agent, bool limited)
{
	unsigned int hash = hash_of(agent->task);
	unsigned long flags;
	int err = 0;

	raw_spin_lock_irqsave(&agents_lock, flags);
	if (agents_find(agent->task)) {
		err = -EEXIST;
	} else if (count >= AGENTS_MOST ||
		   (limited && count_of_user(agent->uid) >= max_agents_per_user)) {
		err = -EDQUOT;
	} else {
		hlist_add_head_rcu(&agent->node, &table[hash]);
		WRITE_ONCE(filter[hash], filter[hash] + 1);
		WRITE_ONCE(count, count + 1);
	}
	raw_spin_unlock_irqrestore(&agents_lock, flags);
	return err;
}

static struct agent *make_agent(struct task_struct *task, struct agent_file *file,
				const struct agent_latency_slot *slot, kuid_t uid)
{
	struct agent *agent = kzalloc(sizeof(*agent), GFP_KERNEL_ACCOUNT);

	if (!agent)
		return NULL;
	agent->task = get_task_struct(task);
	agent->file = file;
	agent_file_get(file);
	agent->slot = slot;
	agent->uid = uid;
	agent->serial = atomic64_inc_return(&serials);
	agent->cpu = AGENT_NO_CPU;
	agent->seen_begun = READ_ONCE(slot->begun);
	raw_spin_lock_init(&agent->lock);
	return agent;
}

static int start_probing(void)
{
	int err;

	lockdep_assert_held(&probing_lock);
	if (probing)
		return 0;
	err = agent_attribution_start();
	probing = !err;
	return err;
}

int agents_attach(struct task_struct *task, struct agent_file *file,
		  const struct agent_latency_slot *slot, kuid_t uid, bool limited)
{
	struct agent *agent = make_agent(task, file, slot, uid);
	int err;

	if (!agent) {
		agent_file_free_slot(file, slot);
		return -ENOMEM;
	}
	mutex_lock(&probing_lock);
	err = start_probing();
	/* Once it is in the table, the thread's exit or another's DETACH may free it. */
	rcu_read_lock();
	if (!err)
		err = put_in(agent, limited);
	if (!err)
		agent_turn_seed(agent);
	rcu_read_unlock();
	mutex_unlock(&probing_lock);
	if (err) {
		agent_file_free_slot(file, slot);
		free_agent(&agent->rcu);
		if (!agents_count())
			schedule_work(&stop_work);
		return err;
	}
	agent_placement_follow();
	/*
	 * do_exit() sets PF_EXITING before its tracepoint. Who exits from here on finds the agent
	 * in the table; who set the flag before may have missed it.
	 */
	smp_mb();
	if (READ_ONCE(task->flags) & PF_EXITING) {
		agents_gone(task);
		return -ESRCH;
	}
	return 0;
}

/* Takes the agent of a task out; `file`: only when it is that file's. */
static struct agent *take_out_of(const struct task_struct *task, const struct agent_file *file)
{
	struct agent *agent;
	unsigned long flags;

	raw_spin_lock_irqsave(&agents_lock, flags);
	agent = agents_find(task);
	if (agent && ((file && agent->file != file) || !take_out(agent)))
		agent = NULL;
	raw_spin_unlock_irqrestore(&agents_lock, flags);
	return agent;
}

int agents_detach(struct task_struct *task, const struct agent_file *file)
{
	struct agent *agent = take_out_of(task, file);

	if (!agent)
		return -ENOENT;
	retire(agent);
	return 0;
}

void agents_gone(struct task_struct *task)
{
	struct agent *agent = take_out_of(task, NULL);

	if (agent)
		retire(agent);
}

static struct agent *find_of(const struct agent_file *file)
{
	struct agent *agent;
	unsigned int hash;

	lockdep_assert_held(&agents_lock);
	for (hash = 0; hash < ARRAY_SIZE(table); hash++) {
		if (!filter[hash])
			continue;
		hlist_for_each_entry(agent, &table[hash], node)
			if (agent->file == file)
				return agent;
	}
	return NULL;
}

static struct agent *take_out_first(const struct agent_file *file)
{
	struct agent *agent;
	unsigned long flags;

	raw_spin_lock_irqsave(&agents_lock, flags);
	agent = find_of(file);
	if (agent)
		take_out(agent);
	raw_spin_unlock_irqrestore(&agents_lock, flags);
	return agent;
}

void agents_detach_all(const struct agent_file *file)
{
	struct agent *agent;

	while ((agent = take_out_first(file)))
		retire(agent);
}

int agents_init(void)
{
	return 0;
}

/*
 * The device is gone, and with it every file, and no agent is in the table. But a probe that took
 * the last one out may still be on its way to call_rcu() and schedule_work(): first no probe runs
 * any more, then no callback, then no work.
 */
void agents_exit(void)
{
	stop_probing(NULL);
	rcu_barrier();
	cancel_work_sync(&stop_work);
}
