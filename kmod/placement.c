// SPDX-License-Identifier: GPL-2.0-only
/* Where device interrupts go, for the agents' sake; what is done and why: placement.h. */
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/sched/isolation.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysctl.h>
#include <linux/topology.h>
#include <linux/workqueue.h>

#include "agents.h"
#include "attribution.h"
#include "compat.h"
#include "cpus.h"
#include "debugfs.h"
#include "placement.h"
#include "vectors.h"

enum mode { OFF, AWAY, NEAR, SAME };

static const char *const mode_names[] = { "off", "away", "near", "same", NULL };

#define WINDOW_LEAST 10U
#define WINDOW_MOST 60000U

static char *placement = "off";
module_param(placement, charp, 0);
MODULE_PARM_DESC(placement,
		 "where movable interrupts go: off, away, near or same (default: off); later: sysctl kernel.agent_latency.placement");
static unsigned int window_ms = 100;
module_param_named(placement_window_ms, window_ms, uint, 0);
MODULE_PARM_DESC(placement_window_ms,
		 "window over which CPUs and agents are judged, in ms, 10 to 60000 (default: 100); later: sysctl");
static unsigned int quiet_pct = 25;
module_param_named(placement_quiet_pct, quiet_pct, uint, 0);
MODULE_PARM_DESC(placement_quiet_pct,
		 "most of a window that hardirqs and softirqs may take of a quiet CPU, in percent, 0 to 100 (default: 25); later: sysctl");

/*
 * Guards all that follows, and the records in vectors.c. Order: cpus_read_lock(), this, desc->lock.
 * A hotplug callback takes it inside the CPU lock held for writing: the same order.
 */
static DEFINE_MUTEX(placement_lock);
static enum mode mode; /* also read without the lock, where a late answer does no harm */
static bool engaged; /* windows are running */
static u64 window_end_ns;
static bool had_agents; /* at the end of the last window */
static u64 windows; /* that ended since the module was loaded */
/* Online, and neither isolated nor nohz_full nor of an agent's core: where interrupts may go. */
static struct cpumask allowed;
/* Agent CPUs and their SMT siblings. */
static struct cpumask avoided;

/* What is known of a CPU. */
struct reading {
	u64 noise_ns; /* as attribution told it at the end of the last window */
	unsigned int permille; /* of the last window */
	unsigned int loud; /* windows until it may be called quiet again */
	unsigned int placed; /* interrupts that have our mask of it */
	bool measured; /* `permille` is of a whole window */
};

static DEFINE_PER_CPU(struct reading, readings);

static bool is_noisy(unsigned int cpu)
{
	return per_cpu(readings, cpu).loud > 0;
}

/* Attribution's counts stand still without agents, and so tell nothing then. */
static void read_noise(u64 elapsed_ns, bool measured)
{
	unsigned int cpu;

	for_each_online_cpu(cpu) {
		struct reading *reading = per_cpu_ptr(&readings, cpu);
		u64 hardirq_ns, softirq_ns, noise_ns;

		agent_attribution_noise(cpu, &hardirq_ns, &softirq_ns);
		noise_ns = hardirq_ns + softirq_ns - reading->noise_ns;
		reading->noise_ns += noise_ns;
		reading->measured = measured;
		reading->permille = measured ? min(div64_u64(1000 * noise_ns, elapsed_ns), 1000ULL)
					     : 0;
		if (reading->permille > 10 * READ_ONCE(quiet_pct))
			reading->loud = PLACEMENT_WINDOWS;
		else if (reading->loud)
			reading->loud--;
		reading->placed = 0;
	}
}

static void sort_cpus(void)
{
	unsigned int cpu;

	cpumask_clear(&avoided);
	for_each_online_cpu(cpu)
		if (agent_cpus_has(cpu))
			cpumask_or(&avoided, &avoided, topology_sibling_cpumask(cpu));
	/* nohz_full= clears it for MISC on every kernel. */
	cpumask_and(&allowed, housekeeping_cpumask(HK_TYPE_DOMAIN),
		    housekeeping_cpumask(HK_TYPE_MISC));
	cpumask_and(&allowed, &allowed, cpu_online_mask);
	cpumask_andnot(&allowed, &allowed, &avoided);
}

/* 0: the same last-level cache, 1: the same NUMA node, 2: neither, or not known. */
static unsigned int apart(unsigned int cpu, unsigned int other)
{
	if (agent_llc_id(cpu) != BAD_APICID && agent_llc_id(cpu) == agent_llc_id(other))
		return 0;
	return cpu_to_node(cpu) == cpu_to_node(other) ? 1 : 2;
}

/* A device whose node is not known is as far from every CPU. */
static bool is_remote(const struct vector *vector, unsigned int cpu)
{
	return vector->node != NUMA_NO_NODE && cpu_to_node(cpu) != vector->node;
}

static unsigned int distance(const struct vector *vector, unsigned int cpu, unsigned int agent_cpu)
{
	unsigned int far = apart(cpu, agent_cpu);

	if (mode == AWAY)
		return 3 * is_remote(vector, cpu) + far;
	return 2 * far + is_remote(vector, cpu);
}

/* The best of `allowed`, of `may` too if that is given; -1: none, or none quiet. */
static int nearest(const struct vector *vector, unsigned int agent_cpu, const struct cpumask *may,
		   bool quiet)
{
	u64 rank, best = U64_MAX;
	int found = -1;
	unsigned int cpu;

	for_each_cpu(cpu, &allowed) {
		const struct reading *reading = per_cpu_ptr(&readings, cpu);

		if ((may && !cpumask_test_cpu(cpu, may)) || (quiet && is_noisy(cpu)))
			continue;
		rank = ((u64)is_noisy(cpu) << 40) +
		       ((u64)distance(vector, cpu, agent_cpu) << 32) +
		       ((u64)min(reading->placed, 0xffffU) << 16) + reading->permille;
		if (rank < best) {
			best = rank;
			found = cpu;
		}
	}
	return found;
}

int agent_select_irq_cpu(const struct vector *vector, unsigned int agent_cpu,
			 const struct cpumask *may)
{
	int cpu;

	if (mode != SAME)
		return nearest(vector, agent_cpu, NULL, false);
	if (cpu_online(agent_cpu) && !is_noisy(agent_cpu))
		return agent_cpu;
	cpu = nearest(vector, agent_cpu, may, true);
	return cpu >= 0 ? cpu : nearest(vector, agent_cpu, NULL, true);
}

static void unbond(struct vector *vector, void *data)
{
	vector->last_bond = vector->bond;
	vector->bond = AGENT_NO_CPU;
	if (agent_vector_is_ours(vector))
		per_cpu(readings, vector->target).placed++;
}

/*
 * Inside an RCU read side: the agent and its task stay while this runs, and cpus_ptr points into
 * the task or to a constant mask. The CPU may be another one by now; the next window sees it. Of
 * several agents that an interrupt serves the one that it followed before comes first.
 */
static void bond(struct agent *agent, void *data)
{
	unsigned int cpu = READ_ONCE(agent->cpu);
	unsigned int count = min_t(u32, READ_ONCE(agent->nr_irqs), AGENT_IRQS);

	if (cpu == AGENT_NO_CPU)
		return;
	while (count--) {
		struct vector *vector = agent_vectors_find(READ_ONCE(agent->irqs[count]));

		if (!vector || (vector->bond != AGENT_NO_CPU && cpu != vector->last_bond))
			continue;
		vector->bond = cpu;
		cpumask_copy(vector->may, agent->task->cpus_ptr);
	}
}

/* Whether it is on a right CPU; if not, `cause` is the agent CPU for whose sake it is not. */
static bool fits(const struct vector *vector, unsigned int *cause)
{
	bool bonded = vector->bond != AGENT_NO_CPU && mode != AWAY;
	int best;

	*cause = bonded ? vector->bond : vector->where;
	if (!bonded)
		return mode == SAME || !cpumask_test_cpu(vector->where, &avoided);
	if (vector->where == vector->bond && mode == SAME && !is_noisy(vector->where))
		return true;
	best = agent_select_irq_cpu(vector, vector->bond, vector->may);
	if (best < 0 || best == vector->where)
		return true;
	if (!cpumask_test_cpu(vector->where, &allowed))
		return false;
	if (mode == SAME)
		return best != vector->bond && !is_noisy(vector->where);
	return apart(vector->where, vector->bond) <= apart(best, vector->bond);
}

static bool may_move(const struct vector *vector)
{
	return vector->state != VECTOR_FOREIGN && vector->state != VECTOR_REFUSED &&
	       vector->state != VECTOR_PENDING && vector->where != AGENT_NO_CPU &&
	       !vector->leaving;
}

static void move(struct vector *vector)
{
	int cpu = agent_select_irq_cpu(vector, vector->cause, vector->may);

	if (cpu < 0 || cpu == vector->where)
		return;
	if (agent_vector_is_ours(vector))
		per_cpu(readings, vector->target).placed--;
	vector->rest = PLACEMENT_REST;
	vector->unfit = 0;
	agent_vector_move(vector, cpu);
	if (agent_vector_is_ours(vector))
		per_cpu(readings, vector->target).placed++;
}

static void place(struct vector *vector, void *data)
{
	unsigned int cause;

	if (vector->rest)
		vector->rest--;
	vector->unbonded = vector->bond == AGENT_NO_CPU ? vector->unbonded + 1 : 0;
	if (mode == SAME && vector->unbonded >= PLACEMENT_WINDOWS) {
		agent_vector_restore(vector);
		return;
	}
	if (!may_move(vector) || fits(vector, &cause)) {
		vector->unfit = 0;
		return;
	}
	vector->unfit = cause == vector->cause ? vector->unfit + 1 : 1;
	vector->cause = cause;
	if (vector->unfit >= PLACEMENT_WINDOWS && !vector->rest)
		move(vector);
}

static void restore(struct vector *vector, void *data)
{
	agent_vector_restore(vector);
}

static void disengage(void)
{
	agent_vectors_each(restore, NULL);
	engaged = false;
}

/* One window. The first one of a series only looks. */
static void run_window(void)
{
	u64 now_ns = ktime_get_ns();
	bool first = !engaged;

	if (first)
		agent_vectors_forget(false);
	read_noise(max(now_ns - window_end_ns, 1ULL), !first && had_agents);
	had_agents = agents_count();
	window_end_ns = now_ns;
	windows++;
	engaged = true;
	sort_cpus();
	agent_vectors_scan();
	agent_vectors_each(unbond, NULL);
	agents_each(bond, NULL);
	if (!first)
		agent_vectors_each(place, NULL);
}

static void work_function(struct work_struct *work);
static DECLARE_DELAYED_WORK(work, work_function);

/* With both locks. Unbound: the work shall not run on an agent's CPU for being queued there. */
static void run(void)
{
	if (mode != OFF && (agents_count() || agent_cpus_any_named())) {
		run_window();
		queue_delayed_work(system_unbound_wq, &work,
				   msecs_to_jiffies(READ_ONCE(window_ms)));
	} else if (engaged) {
		disengage();
	}
}

static void work_function(struct work_struct *unused)
{
	cpus_read_lock();
	mutex_lock(&placement_lock);
	run();
	mutex_unlock(&placement_lock);
	cpus_read_unlock();
}

void agent_placement_follow(void)
{
	if (READ_ONCE(mode) == OFF)
		return;
	/* The lock keeps the work from being queued after agent_placement_exit() set OFF. */
	mutex_lock(&placement_lock);
	if (mode != OFF && (!engaged || !agents_count()))
		mod_delayed_work(system_unbound_wq, &work, 0);
	mutex_unlock(&placement_lock);
}

/* Everything is given back before another mode begins. Done when it returns. */
static void set_mode(enum mode wanted)
{
	cpus_read_lock();
	mutex_lock(&placement_lock);
	if (wanted != mode)
		disengage();
	WRITE_ONCE(mode, wanted);
	if (mode != OFF && !engaged)
		mod_delayed_work(system_unbound_wq, &work, 0);
	mutex_unlock(&placement_lock);
	cpus_read_unlock();
}

static void restore_from(struct vector *vector, void *data)
{
	const unsigned int *cpu = data;

	if (vector->target == *cpu)
		agent_vector_restore(vector);
}

/*
 * A CPU is about to go offline. What points to it alone would be given any CPU by the kernel, and
 * look like another writer's from then on; with its old mask it goes where it would have gone.
 */
static int going_offline(unsigned int cpu)
{
	mutex_lock(&placement_lock);
	agent_vectors_each(restore_from, &cpu);
	mutex_unlock(&placement_lock);
	return 0;
}

static int mode_handler(AGENT_CTL_TABLE *table, int write, void *buffer, size_t *length,
			loff_t *position)
{
	char word[16];
	struct ctl_table text = { .data = word, .maxlen = sizeof(word) };
	int err, wanted;

	strscpy(word, mode_names[READ_ONCE(mode)], sizeof(word));
	err = proc_dostring(&text, write, buffer, length, position);
	if (err || !write)
		return err;
	wanted = match_string(mode_names, -1, word);
	if (wanted < 0)
		return -EINVAL;
	set_mode(wanted);
	return 0;
}

static unsigned int window_least = WINDOW_LEAST, window_most = WINDOW_MOST, percent_most = 100;

static struct ctl_table table[] = {
	{
		.procname = "placement",
		.maxlen = 16,
		.mode = 0644,
		.proc_handler = mode_handler,
	},
	{
		.procname = "placement_window_ms",
		.data = &window_ms,
		.maxlen = sizeof(window_ms),
		.mode = 0644,
		.proc_handler = proc_douintvec_minmax,
		.extra1 = &window_least,
		.extra2 = &window_most,
	},
	{
		.procname = "placement_quiet_pct",
		.data = &quiet_pct,
		.maxlen = sizeof(quiet_pct),
		.mode = 0644,
		.proc_handler = proc_douintvec_minmax,
		.extra1 = SYSCTL_ZERO,
		.extra2 = &percent_most,
	},
	AGENT_SYSCTL_END
};

static struct ctl_table_header *header;
static enum cpuhp_state hotplug;

static void show_cpu(struct seq_file *file, unsigned int cpu)
{
	const struct reading *reading = per_cpu_ptr(&readings, cpu);

	seq_printf(file, "cpu=%u agent=%d allowed=%d", cpu, agent_cpus_has(cpu),
		   cpumask_test_cpu(cpu, &allowed));
	if (engaged && reading->measured)
		seq_printf(file, " noise_pct=%u.%u quiet=%d", reading->permille / 10,
			   reading->permille % 10, !reading->loud);
	seq_puts(file, "\n");
}

/* Lines of key=value words; a key is missing where nothing is known. `action` may hold spaces. */
static int placement_show(struct seq_file *file, void *unused)
{
	unsigned int cpu;

	mutex_lock(&placement_lock);
	seq_printf(file, "mode=%s running=%d windows=%llu window_ms=%u quiet_pct=%u ",
		   mode_names[mode], engaged, windows, window_ms, quiet_pct);
	seq_printf(file, "settle_windows=%u rest_windows=%u\n", PLACEMENT_WINDOWS, PLACEMENT_REST);
	for_each_online_cpu(cpu)
		show_cpu(file, cpu);
	agent_vectors_show(file);
	mutex_unlock(&placement_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(placement);

static int check_parameters(void)
{
	if (match_string(mode_names, -1, placement) >= 0 && window_ms >= WINDOW_LEAST &&
	    window_ms <= WINDOW_MOST && quiet_pct <= 100)
		return 0;
	pr_err("placement=%s (off, away, near, same), placement_window_ms=%u (%u to %u) or placement_quiet_pct=%u (0 to 100) is out of range\n",
	       placement, window_ms, WINDOW_LEAST, WINDOW_MOST, quiet_pct);
	return -EINVAL;
}

int agent_placement_init(void)
{
	int err = check_parameters();

	if (err)
		return err;
	err = cpuhp_setup_state_nocalls(CPUHP_AP_ONLINE_DYN, "agent_latency:placement", NULL,
					going_offline);
	if (err < 0)
		return err;
	hotplug = err;
	header = register_sysctl("kernel/agent_latency", table);
	if (!header) {
		cpuhp_remove_state_nocalls(hotplug);
		return -ENOMEM;
	}
	debugfs_create_file("placement", 0400, agent_debugfs, NULL, &placement_fops);
	set_mode(match_string(mode_names, -1, placement));
	return 0;
}

/*
 * Nobody writes the sysctl any more, and a late agent_placement_follow() finds OFF, so the work
 * that is cancelled is the last.
 */
void agent_placement_exit(void)
{
	unregister_sysctl_table(header);
	set_mode(OFF);
	cancel_delayed_work_sync(&work);
	cpuhp_remove_state_nocalls(hotplug);
	/* Those whose masks could not be restored before have another chance. */
	mutex_lock(&placement_lock);
	disengage();
	agent_vectors_forget(true);
	mutex_unlock(&placement_lock);
}
