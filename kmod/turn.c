// SPDX-License-Identifier: GPL-2.0-only
/* Wakings and switches of the agents, and of the kernel threads that serve them. */
#include <linux/hash.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

#include "agents.h"
#include "compat.h"
#include "completion.h"
#include "core.h"
#include "cpus.h"
#include "probes.h"
#include "step.h"
#include "trace.h"
#include "turn.h"

/* A step keeps no wait of its own here: debugfs tells buckets; `agenttune steps` tells the rest. */
#define NO_WAIT_NS (AT_UNKNOWN >> 1)

/*
 * Why a kernel thread runs: the chain that woke it. Sets of four by the task's address, so that
 * nothing is allocated; a thread whose place another took has no chain, which is 'not known', not
 * wrong: a place names its task. A task that died leaves its place, but the new one of its address
 * is woken before it runs, and that overwrites it.
 */
#define CONDUIT_SETS 1024
#define CONDUIT_WAYS 4

struct conduit {
	const struct task_struct *task;
	struct at_cause cause;
};

struct conduit_set {
	raw_spinlock_t lock; /* nests inside pi_lock and the run queue's lock; nothing inside it */
	unsigned int next; /* the way that the next thread takes */
	struct conduit ways[CONDUIT_WAYS];
};

static struct conduit_set conduit_sets[CONDUIT_SETS];

static struct conduit_set *set_of(const struct task_struct *task)
{
	return &conduit_sets[hash_ptr(task, ilog2(CONDUIT_SETS))];
}

static struct conduit *conduit_of(struct conduit_set *set, const struct task_struct *task)
{
	unsigned int way;

	for (way = 0; way < CONDUIT_WAYS; way++)
		if (set->ways[way].task == task)
			return &set->ways[way];
	return NULL;
}

/* ksoftirqd's reason to run is each softirq's own. */
static bool is_ksoftirqd(const struct task_struct *task)
{
	return task->flags & PF_KTHREAD && !strncmp(task->comm, "ksoftirqd/", 10);
}

/* setup_irq_thread(), kernel/irq/manage.c, v6.12. */
static bool is_irq_thread(const struct task_struct *task)
{
	return !strncmp(task->comm, "irq/", 4);
}

/* Runnable and not on a CPU: woken before, and that waking is why it will run. */
static bool is_queued(const struct task_struct *task)
{
	return READ_ONCE(task->on_rq) && !agent_sched_delayed(task) && !READ_ONCE(task->on_cpu);
}

/* A kernel thread carries on what wakes it. */
static void hand_on(struct agent_core *core, struct task_struct *task, u64 now_ns)
{
	struct conduit_set *set = set_of(task);
	struct conduit *conduit;
	struct at_cause cause;

	if (is_ksoftirqd(task) || is_queued(task))
		return;
	cause = is_irq_thread(task) ? at_cause_threaded(&core->frames, task->pid, now_ns) :
				      at_cause_handed(&core->frames, task->pid, now_ns);
	raw_spin_lock(&set->lock);
	conduit = conduit_of(set, task);
	if (!conduit)
		conduit = &set->ways[set->next++ % CONDUIT_WAYS];
	conduit->task = task;
	conduit->cause = cause;
	raw_spin_unlock(&set->lock);
}

/* The task below any interrupt, and the chain that a kernel thread carries on. */
static void set_task(struct agent_core *core, const struct task_struct *task)
{
	struct conduit_set *set = set_of(task);
	const struct conduit *conduit = NULL;
	struct at_cause cause;
	u32 flags = 0;

	if (task->pid && task->flags & PF_KTHREAD) {
		flags = AT_TASK_KTHREAD;
		if (is_ksoftirqd(task)) {
			flags |= AT_TASK_KSOFTIRQD;
		} else {
			raw_spin_lock(&set->lock);
			conduit = conduit_of(set, task);
			if (conduit)
				cause = conduit->cause;
			raw_spin_unlock(&set->lock);
		}
	}
	at_task(&core->frames, task->pid, flags, conduit ? &cause : NULL);
}

/* A switch that was not seen, or none yet: another task runs than the frames say. */
static void correct_task(struct agent_core *core)
{
	if (core->frames.task.tid == (u32)current->pid)
		return;
	if (core->frames.task.tid)
		core->missed_switches++;
	set_task(core, current);
}

static void copy_comm(u64 *words, const struct task_struct *task)
{
	BUILD_BUG_ON(AT_COMM_WORDS * sizeof(*words) != TASK_COMM_LEN);
	memcpy(words, task->comm, TASK_COMM_LEN);
}

/* try_to_wake_up() and its kin: the woken task's pi_lock is held; see probe_waking(). */
static void wake_agent(struct agent *agent, struct agent_core *core, u64 now_ns)
{
	bool hidden = !core->frames.depth && in_hardirq();
	u64 comm[AT_COMM_WORDS];
	bool slept;

	copy_comm(comm, current);
	raw_spin_lock(&agent->lock);
	if (agent->retired)
		goto unlock;
	slept = agent->thread.state != AT_RUNNING;
	if (at_thread_waking(&agent->thread, &core->frames, hidden, current->pid, comm, now_ns))
		agent_completion_woken(agent, slept, now_ns);
unlock:
	raw_spin_unlock(&agent->lock);
}

/*
 * Interrupts are off and locks are held, but for a task that is woken by itself, say by a timer
 * that runs in it just before it sleeps: try_to_wake_up() tells of that without either
 * (kernel/sched/core.c, v6.1 to v6.12), and an interrupt then may wake the same task.
 */
static void probe_waking(void *data, struct task_struct *task)
{
	struct agent *agent = agents_find(task);
	struct agent_core *core;
	unsigned long flags;
	u64 now_ns;

	if (!agent && !(task->flags & PF_KTHREAD))
		return;
	local_irq_save(flags);
	core = this_cpu_ptr(&agent_cores);
	now_ns = agent_now_ns();
	correct_task(core);
	if (!agent)
		hand_on(core, task, now_ns);
	else
		wake_agent(agent, core, now_ns);
	local_irq_restore(flags);
}

/* The time since the chain began that woke the agent; of a step only, and of interrupts only. */
static void tell_woken(const struct agent *agent, u32 stage, u64 now_ns)
{
	const struct at_chain *chain = &agent->thread.wake.chain;
	u64 step_id = agent_step_current(agent);

	if (!step_id || !agent_chain_completes(chain))
		return;
	trace_agent_irq_stage(step_id, agent->task->pid, stage, agent_cause_irq(&chain->cause),
			      (int)chain->vector - 1, smp_processor_id(),
			      at_after(now_ns, at_chain_begin(&chain->cause,
							      agent->thread.wake.waking_ns)));
}

/* ttwu_do_wakeup(): the run queue of the task's new CPU is locked; see probe_waking(). */
static void probe_wakeup(void *data, struct task_struct *task)
{
	struct agent *agent = agents_find(task);
	const struct at_cpu *target;
	unsigned long flags;
	u64 now_ns;

	if (!agent)
		return;
	target = &per_cpu_ptr(&agent_cores, task_cpu(task))->frames;
	raw_spin_lock_irqsave(&agent->lock, flags);
	now_ns = agent_now_ns();
	if (!agent->retired && at_wakeup_matters(&agent->thread)) {
		at_thread_wakeup(&agent->thread, target, 0, now_ns);
		if (trace_agent_irq_stage_enabled())
			tell_woken(agent, AGENT_STAGE_WAKEUP, now_ns);
	}
	raw_spin_unlock_irqrestore(&agent->lock, flags);
}

/* Seen for the first time, on this CPU. */
static void see(struct agent *agent, struct agent_core *core, struct at_stamp now)
{
	if (agent->thread.state == AT_NEW)
		at_thread_seen(&agent->thread, &core->frames, agent->task->pid,
			       agent->task->tgid, now);
}

static void leave_cpu(struct agent *agent, struct agent_core *core, bool preempt,
		      struct at_stamp now)
{
	unsigned int state = READ_ONCE(agent->task->__state);
	u32 flags = 0;

	if (!preempt && state)
		flags = AT_WAIT_BLOCKED | (state & TASK_UNINTERRUPTIBLE ? AT_WAIT_IO : 0);
	raw_spin_lock(&agent->lock);
	if (!agent->retired) {
		see(agent, core, now);
		agent_step_sync(agent, &core->frames, now);
		at_thread_out(&agent->thread, &core->frames, flags, now);
	}
	raw_spin_unlock(&agent->lock);
}

static void enter_cpu(struct agent *agent, struct agent_core *core, struct at_stamp now)
{
	raw_spin_lock(&agent->lock);
	if (agent->retired)
		goto unlock;
	agent_cpus_move(agent->cpu, smp_processor_id());
	WRITE_ONCE(agent->cpu, smp_processor_id());
	if (agent->thread.state == AT_NEW) {
		see(agent, core, now);
		goto unlock;
	}
	if (agent->thread.state == AT_BLOCKED && agent->thread.wake.waking_ns &&
	    trace_agent_irq_stage_enabled())
		tell_woken(agent, AGENT_STAGE_RUN, now.now_ns);
	at_thread_in(&agent->thread, &core->frames, NO_WAIT_NS, now);
unlock:
	raw_spin_unlock(&agent->lock);
}

/* __schedule(): this CPU's run queue is locked, interrupts are off. */
static void probe_switch(void *data, bool preempt, struct task_struct *prev,
			 struct task_struct *next, unsigned int prev_state)
{
	struct agent_core *core = this_cpu_ptr(&agent_cores);
	struct agent *leaves = agents_find(prev), *enters = agents_find(next);
	struct at_stamp now;
	u64 now_ns;

	if (at_switch_matters(&core->frames) || leaves || enters) {
		now_ns = agent_now_ns();
		at_switch(&core->frames, prev->pid, next->pid, now_ns);
		now = at_stamp(&core->frames, now_ns);
		if (leaves)
			leave_cpu(leaves, core, preempt, now);
		if (enters)
			enter_cpu(enters, core, now);
	}
	set_task(core, next);
}

/* do_exit() and exec: process context, no scheduler lock is held, so this may wake a worker. */
static void probe_exit(void *data, struct task_struct *task)
{
	agents_gone(task);
}

/* Another program, perhaps with other rights: whoever attached the old one has no claim on it. */
static void probe_exec(void *data, struct task_struct *task, pid_t old_pid,
		       struct linux_binprm *binprm)
{
	agents_gone(task);
}

static struct agent_probe probes[] = {
	{ .name = "sched_waking", .function = probe_waking },
	{ .name = "sched_wakeup", .function = probe_wakeup },
	{ .name = "sched_switch", .function = probe_switch },
	{ .name = "sched_process_exit", .function = probe_exit },
	{ .name = "sched_process_exec", .function = probe_exec },
};

int agent_turn_start(void)
{
	unsigned int i, way;

	for (i = 0; i < CONDUIT_SETS; i++)
		for (way = 0; way < CONDUIT_WAYS; way++)
			conduit_sets[i].ways[way].task = NULL;
	return agent_probes_register(probes, ARRAY_SIZE(probes));
}

void agent_turn_stop(void)
{
	agent_probes_unregister(probes, ARRAY_SIZE(probes));
}

/* One that attaches itself runs here and now; of others the next event tells. */
void agent_turn_seed(struct agent *agent)
{
	struct agent_core *core;
	unsigned long flags;
	unsigned int cpu;

	raw_spin_lock_irqsave(&agent->lock, flags);
	core = this_cpu_ptr(&agent_cores);
	if (agent->task == current) {
		correct_task(core);
		see(agent, core, at_stamp(&core->frames, agent_now_ns()));
	}
	if (!agent->retired && agent->cpu == AGENT_NO_CPU) {
		cpu = task_cpu(agent->task);
		agent_cpus_move(AGENT_NO_CPU, cpu);
		WRITE_ONCE(agent->cpu, cpu);
	}
	raw_spin_unlock_irqrestore(&agent->lock, flags);
}

int agent_turn_init(void)
{
	unsigned int i;

	for (i = 0; i < CONDUIT_SETS; i++)
		raw_spin_lock_init(&conduit_sets[i].lock);
	return agent_probes_find(probes, ARRAY_SIZE(probes));
}
