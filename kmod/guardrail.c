// SPDX-License-Identifier: GPL-2.0-only
/* Bounds on what one net_rx_action() does on an agent CPU: packets and nanoseconds. */
#include <linux/debugfs.h>
#include <linux/interrupt.h>
#include <linux/limits.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/seq_file.h>
#include <linux/sysctl.h>

#include "compat.h"
#include "cpus.h"
#include "debugfs.h"
#include "guardrail.h"
#include "napi.h"
#include "probes.h"

static unsigned int agent_napi_budget;
module_param(agent_napi_budget, uint, 0);
MODULE_PARM_DESC(agent_napi_budget,
		 "Packets per net_rx_action() on agent CPUs, 1 to 65535; 0 (default): no bound; later: sysctl kernel.agent_latency.agent_napi_budget");
static unsigned int agent_softirq_budget_ns;
module_param(agent_softirq_budget_ns, uint, 0);
MODULE_PARM_DESC(agent_softirq_budget_ns,
		 "Nanoseconds per net_rx_action() on agent CPUs, 10000 to 10000000; 0 (default): no bound; later: sysctl kernel.agent_latency.agent_softirq_budget_ns");

/* A bound and the values it may have besides 0. `value` is written under bounds_lock. */
struct bound {
	const char *name;
	unsigned int value;
	unsigned int least;
	unsigned int most;
};

static struct bound packets_bound = {
	.name = "agent_napi_budget", .least = 1, .most = U16_MAX,
};

static struct bound ns_bound = {
	.name = "agent_softirq_budget_ns", .least = 10 * NSEC_PER_USEC, .most = 10 * NSEC_PER_MSEC,
};

static DEFINE_MUTEX(bounds_lock);
bool agent_guardrail_bound;
/* Grows with every change that leaves a bound set, after it; counts of before are dropped. */
static u32 bounds_epoch;

/* 0, 1, 2-3, 4-7, ... */
#define SIZES 18

/* What was counted of the net_rx_action() calls on one CPU. */
struct tally {
	u64 actions;
	u64 packets;
	u64 longest_ns;
	u64 left_packets; /* times a bound made it leave */
	u64 left_ns;
	u64 lowered; /* polls with a lowered weight */
	u64 over_packets; /* that did more than the bound */
	u64 over_ns;
	u32 largest; /* packets */
	u32 sizes[SIZES];
};

/* Polls that nothing bounds. */
struct elsewhere {
	u64 polls;
	u64 packets;
};

/* The net_rx_action() that runs on this CPU now. The bounds of its beginning hold until its end. */
struct action {
	const struct task_struct *task; /* in whose context; NULL: none that was seen to begin */
	bool bounded;
	u32 most_packets;
	u32 most_ns;
	u32 packets;
	u64 began_ns;
};

/* What packets cost lately on this CPU; sums in which older polls fade by an eighth with each. */
struct cost {
	u64 ns;
	u64 packets; /* shifted by COST_SHIFT */
};

#define COST_SHIFT 8
#define COST_FADE 8

/*
 * Written on its own CPU only, by probes and by the hook's handlers, which have preemption off and
 * run with bottom halves off or in a softirq: they do not nest (napi.c says why). Should two tasks'
 * softirqs ever take turns on a CPU, `task` keeps them apart: the polls of the one that began first
 * go unbounded. Other CPUs read it as it is.
 */
struct guardrail {
	struct action action;
	struct cost cost;
	const struct napi_struct *polling; /* that the hook saw begin */
	/* A weight that is lowered now; see own_weight(). */
	const struct napi_struct *lent;
	int lent_weight;

	u32 epoch; /* of what follows */
	struct tally tallies[2]; /* not an agent CPU, an agent CPU */
	struct elsewhere threaded;
	struct elsewhere busy;
};

static DEFINE_PER_CPU(struct guardrail, guardrails);

/* This CPU's, its counts being those of the bounds set now. Not inside a net_rx_action(). */
static struct guardrail *guardrail_here(void)
{
	struct guardrail *here = this_cpu_ptr(&guardrails);
	/* Pairs with set_bound(): the bounds read after it are those of this epoch, or newer. */
	u32 epoch = smp_load_acquire(&bounds_epoch);

	if (here->epoch != epoch) {
		memset(here->tallies, 0, sizeof(here->tallies));
		memset(&here->threaded, 0, sizeof(here->threaded));
		memset(&here->busy, 0, sizeof(here->busy));
		/* Pairs with show_cpu(): cleared before it is shown. */
		smp_store_release(&here->epoch, epoch);
	}
	return here;
}

static struct tally *tally_of(struct guardrail *here)
{
	return &here->tallies[here->action.bounded];
}

static u64 elapsed_ns(const struct action *action)
{
	return local_clock() - action->began_ns;
}

/* The clock is this CPU's. On PREEMPT_RT it runs on while the softirq's task is preempted. */
static void action_begins(void *data, unsigned int vector)
{
	struct guardrail *here;

	if (vector != NET_RX_SOFTIRQ || !agent_guardrail_on())
		return;
	here = guardrail_here();
	here->action = (struct action){
		.task = current,
		.bounded = agent_cpus_has(smp_processor_id()),
		.most_packets = READ_ONCE(packets_bound.value),
		.most_ns = READ_ONCE(ns_bound.value),
		.began_ns = local_clock(),
	};
}

static void action_ends(void *data, unsigned int vector)
{
	struct guardrail *here = this_cpu_ptr(&guardrails);
	struct action *action = &here->action;
	struct tally *tally;
	u64 ns;

	if (vector != NET_RX_SOFTIRQ || action->task != current)
		return;
	action->task = NULL;
	if (!agent_guardrail_on())
		return;
	ns = elapsed_ns(action);
	tally = tally_of(here);
	tally->actions++;
	tally->packets += action->packets;
	tally->sizes[min(fls(action->packets), SIZES - 1)]++;
	tally->largest = max(tally->largest, action->packets);
	tally->longest_ns = max(tally->longest_ns, ns);
	if (!action->bounded)
		return;
	if (action->most_packets && action->packets > action->most_packets)
		tally->over_packets++;
	if (action->most_ns && ns > action->most_ns)
		tally->over_ns++;
}

static void count_unbounded(struct elsewhere *elsewhere, int work)
{
	elsewhere->polls++;
	elsewhere->packets += max(work, 0);
}

/* After every poll of any kind; here for those that the hook cannot see. */
static void polled(void *data, struct napi_struct *napi, int work, int weight)
{
	struct guardrail *here = this_cpu_ptr(&guardrails);

	if (here->polling == napi)
		return;
	if (in_serving_softirq()) {
		/* The hook missed it. */
		if (here->action.task == current)
			here->action.packets += max(work, 0);
	} else if (!(current->flags & PF_KTHREAD)) {
		count_unbounded(&guardrail_here()->busy, work);
	}
}

static struct agent_probe probes[] = {
	{ .name = "softirq_entry", .function = action_begins },
	{ .name = "softirq_exit", .function = action_ends },
	{ .name = "napi_poll", .function = polled, .optional = true },
};

/*
 * A NAPI's weight as its driver set it. A poll that is done gives the NAPI away before it returns:
 * another CPU can be here with a weight that the first is about to restore, and would keep it for
 * the NAPI's own. The first says what it lowered before it lowers, and until it has restored.
 */
static int own_weight(const struct napi_struct *napi)
{
	int weight = READ_ONCE(napi->weight);
	unsigned int cpu;

	if (weight == NAPI_POLL_WEIGHT)
		return weight;
	/* Pairs with the smp_wmb() in lower(). */
	smp_rmb();
	for_each_possible_cpu(cpu) {
		const struct guardrail *there = per_cpu_ptr(&guardrails, cpu);

		/* Pairs with lower(), and with restore(): not lent is restored. */
		if (smp_load_acquire(&there->lent) == napi)
			return READ_ONCE(there->lent_weight);
	}
	return READ_ONCE(napi->weight);
}

static void lower(struct guardrail *here, struct napi_struct *napi,
		  struct agent_guardrail_poll *poll, int weight)
{
	poll->lowered = weight;
	WRITE_ONCE(here->lent_weight, poll->weight);
	/* Pairs with own_weight(), as does the next. */
	smp_store_release(&here->lent, napi);
	/* Who sees the lowered weight sees that it is lent. */
	smp_wmb();
	WRITE_ONCE(napi->weight, weight);
	tally_of(here)->lowered++;
}

/*
 * Unless it was written meanwhile: by process_backlog(), which sets net.core.dev_weight with every
 * poll; by a driver; or by another CPU that lowered it since, which restores it in its turn. (If
 * both lowered it to the same, this one may restore it before the other reads it: one poll there is
 * bounded by its own weight only.)
 */
static void restore(struct guardrail *here, struct napi_struct *napi,
		    const struct agent_guardrail_poll *poll)
{
	cmpxchg(&napi->weight, poll->lowered, poll->weight);
	/* Pairs with own_weight(). */
	smp_store_release(&here->lent, NULL);
}

static u64 packet_ns(const struct cost *cost)
{
	return cost->packets ? div64_u64(cost->ns << COST_SHIFT, cost->packets) : 0;
}

/* Polls that found nothing say nothing. Longer than the bound is as bad as the bound. */
static void learn(struct cost *cost, int packets, u64 ns, u32 most_ns)
{
	if (packets <= 0)
		return;
	if (most_ns)
		ns = min_t(u64, ns, most_ns);
	cost->ns += ns - cost->ns / COST_FADE;
	cost->packets += ((u64)packets << COST_SHIFT) - cost->packets / COST_FADE;
}

/* The packets that fit into the time left: one while their cost is not known. */
static u64 fitting(const struct action *action, const struct cost *cost)
{
	u64 ns = elapsed_ns(action);

	if (ns >= action->most_ns || !cost->ns)
		return 1;
	return div64_u64((action->most_ns - ns) * cost->packets, cost->ns) >> COST_SHIFT;
}

/*
 * At least 1: 0 tells a driver that netpoll calls, and to receive nothing
 * (Documentation/networking/napi.rst).
 */
static int allowed(const struct guardrail *here, int weight)
{
	const struct action *action = &here->action;
	u64 most = weight;

	if (action->most_packets)
		most = min_t(u64, most,
			     max(action->most_packets, action->packets) - action->packets);
	if (action->most_ns)
		most = min(most, fitting(action, &here->cost));
	return max_t(u64, most, 1);
}

void agent_guardrail_poll_begin(struct napi_struct *napi, struct agent_guardrail_poll *poll)
{
	struct guardrail *here = this_cpu_ptr(&guardrails);
	int weight;

	*poll = (struct agent_guardrail_poll){ .threaded = !in_serving_softirq() };
	here->polling = napi;
	if (poll->threaded || here->action.task != current)
		return;
	poll->counted = true;
	poll->began_ns = local_clock();
	if (!here->action.bounded)
		return;
	poll->weight = own_weight(napi);
	weight = allowed(here, poll->weight);
	if (weight < poll->weight)
		lower(here, napi, poll, weight);
}

/*
 * Counts why, when this net_rx_action() is to leave. Not in the midst of a packet: time is up when
 * the next one would not fit.
 */
static bool used_up(struct guardrail *here)
{
	const struct action *action = &here->action;

	if (action->most_packets && action->packets >= action->most_packets) {
		tally_of(here)->left_packets++;
		return true;
	}
	if (action->most_ns && elapsed_ns(action) + packet_ns(&here->cost) >= action->most_ns) {
		tally_of(here)->left_ns++;
		return true;
	}
	return false;
}

/*
 * INT_MAX uses up any netdev_budget: net_rx_action() subtracts it and leaves at 0 or below (and a
 * netdev_budget below 0, which the kernel takes and leaves at once for, with the poll after: the
 * difference wraps). __napi_poll() has compared the true value with the weight before, and the
 * tracepoint napi_poll has shown it.
 */
int agent_guardrail_poll_end(struct napi_struct *napi, const struct agent_guardrail_poll *poll,
			     int work)
{
	struct guardrail *here = this_cpu_ptr(&guardrails);
	struct action *action = &here->action;

	here->polling = NULL;
	if (poll->lowered)
		restore(here, napi, poll);
	if (poll->threaded) {
		count_unbounded(&guardrail_here()->threaded, work);
		return work;
	}
	/* The bounds may have been lifted and set again since it began. */
	if (!poll->counted || action->task != current)
		return work;
	action->packets += max(work, 0);
	learn(&here->cost, work, local_clock() - poll->began_ns, action->most_ns);
	return action->bounded && used_up(here) ? INT_MAX : work;
}

/*
 * The probes are there while a bound is set. Nobody saw a net_rx_action() begin that runs at that
 * moment: it is left alone, and so is one that runs when the last bound is lifted, from then on.
 */
static int switch_on(void)
{
	int err;

	WRITE_ONCE(agent_guardrail_bound, true);
	err = agent_probes_register(probes, ARRAY_SIZE(probes));
	if (err)
		WRITE_ONCE(agent_guardrail_bound, false);
	return err;
}

/* Waits for a grace period, and so for the polls that saw a bound; weights are what they were. */
static void switch_off(void)
{
	unsigned int cpu;

	WRITE_ONCE(agent_guardrail_bound, false);
	agent_probes_unregister(probes, ARRAY_SIZE(probes));
	for_each_possible_cpu(cpu)
		per_cpu_ptr(&guardrails, cpu)->action.task = NULL;
}

static int set_bound(struct bound *bound, unsigned int value)
{
	unsigned int old = bound->value;
	bool off;
	int err = 0;

	if (value && (value < bound->least || value > bound->most))
		return -EINVAL;
	if (value && !agent_napi_hooked())
		return -EOPNOTSUPP;
	if (value == old)
		return 0;
	off = packets_bound.value + ns_bound.value - old + value == 0;
	if (off)
		switch_off();
	WRITE_ONCE(bound->value, value);
	if (off)
		return 0;
	/* Pairs with guardrail_here(). */
	smp_store_release(&bounds_epoch, bounds_epoch + 1);
	if (!agent_guardrail_bound)
		err = switch_on();
	if (err)
		WRITE_ONCE(bound->value, old);
	return err;
}

static int bound_handler(AGENT_CTL_TABLE *table, int write, void *buffer, size_t *length,
			 loff_t *position)
{
	struct bound *bound = table->data;
	unsigned int value;
	struct ctl_table number = { .data = &value, .maxlen = sizeof(value) };
	int err;

	mutex_lock(&bounds_lock);
	value = bound->value;
	err = proc_douintvec(&number, write, buffer, length, position);
	if (!err && write)
		err = set_bound(bound, value);
	mutex_unlock(&bounds_lock);
	return err;
}

static struct ctl_table table[] = {
	{
		.procname = "agent_napi_budget",
		.data = &packets_bound,
		.maxlen = sizeof(unsigned int),
		.mode = 0644,
		.proc_handler = bound_handler,
	},
	{
		.procname = "agent_softirq_budget_ns",
		.data = &ns_bound,
		.maxlen = sizeof(unsigned int),
		.mode = 0644,
		.proc_handler = bound_handler,
	},
	AGENT_SYSCTL_END
};

static struct ctl_table_header *header;

static void show_tally(struct seq_file *file, unsigned int cpu, const char *kind,
		       const struct tally *tally)
{
	const char *before = "";
	unsigned int size;

	if (!tally->actions)
		return;
	seq_printf(file, "cpu=%u kind=%s actions=%llu packets=%llu largest=%u longest_ns=%llu",
		   cpu, kind, tally->actions, tally->packets, tally->largest, tally->longest_ns);
	seq_printf(file, " left_packets=%llu left_ns=%llu lowered=%llu over_packets=%llu over_ns=%llu",
		   tally->left_packets, tally->left_ns, tally->lowered, tally->over_packets,
		   tally->over_ns);
	seq_puts(file, " sizes=");
	for (size = 0; size < SIZES; size++) {
		if (!tally->sizes[size])
			continue;
		seq_printf(file, "%s%u:%u", before, size ? 1U << (size - 1) : 0,
			   tally->sizes[size]);
		before = ",";
	}
	seq_putc(file, '\n');
}

static void show_elsewhere(struct seq_file *file, unsigned int cpu, const char *kind,
			   const struct elsewhere *elsewhere)
{
	if (elsewhere->polls)
		seq_printf(file, "cpu=%u kind=%s polls=%llu packets=%llu\n", cpu, kind,
			   elsewhere->polls, elsewhere->packets);
}

static void show_cpu(struct seq_file *file, unsigned int cpu)
{
	const struct guardrail *guardrail = per_cpu_ptr(&guardrails, cpu);

	/* Pairs with guardrail_here(). */
	if (smp_load_acquire(&guardrail->epoch) != bounds_epoch)
		return;
	show_tally(file, cpu, "agent", &guardrail->tallies[true]);
	show_tally(file, cpu, "other", &guardrail->tallies[false]);
	show_elsewhere(file, cpu, "threaded", &guardrail->threaded);
	show_elsewhere(file, cpu, "busy", &guardrail->busy);
}

/* The counts run on while they are read, each by itself. */
static int guardrail_show(struct seq_file *file, void *data)
{
	unsigned int cpu;

	seq_puts(file, "# The net_rx_action() calls since a bound was last set: on a CPU while it was an agent CPU\n"
		       "# (bounded), and on others. sizes: from so many packets to less than twice as many, and how often.\n"
		       "# Polls that are never bounded: by threads (threaded NAPI: pin them), by busy polling.\n");
	mutex_lock(&bounds_lock);
	seq_printf(file, "%s=%u %s=%u", packets_bound.name, packets_bound.value, ns_bound.name,
		   ns_bound.value);
	seq_printf(file, " hooked=%u missed=%lu\n", agent_napi_hooked(), agent_napi_missed());
	for_each_possible_cpu(cpu)
		show_cpu(file, cpu);
	mutex_unlock(&bounds_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(guardrail);

static int set_at_load(struct bound *bound, unsigned int value)
{
	int err;

	mutex_lock(&bounds_lock);
	err = set_bound(bound, value);
	mutex_unlock(&bounds_lock);
	if (err == -EINVAL)
		pr_err("%s=%u is neither 0 nor from %u to %u\n", bound->name, value, bound->least,
		       bound->most);
	else if (err == -EOPNOTSUPP)
		pr_err("%s: __napi_poll() of this kernel cannot be hooked\n", bound->name);
	return err;
}

/* Also after a failed init. */
static void lift(void)
{
	mutex_lock(&bounds_lock);
	set_bound(&packets_bound, 0);
	set_bound(&ns_bound, 0);
	mutex_unlock(&bounds_lock);
}

int agent_guardrail_init(void)
{
	int err = agent_probes_find(probes, ARRAY_SIZE(probes));

	if (err)
		return err;
	err = set_at_load(&packets_bound, agent_napi_budget);
	if (!err)
		err = set_at_load(&ns_bound, agent_softirq_budget_ns);
	if (!err) {
		header = register_sysctl("kernel/agent_latency", table);
		err = header ? 0 : -ENOMEM;
	}
	if (err) {
		lift();
		return err;
	}
	debugfs_create_file("guardrail", 0400, agent_debugfs, NULL, &guardrail_fops);
	return 0;
}

void agent_guardrail_exit(void)
{
	unregister_sysctl_table(header);
	lift();
}
