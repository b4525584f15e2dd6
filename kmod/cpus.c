// SPDX-License-Identifier: GPL-2.0-only
/* Which CPUs are agent CPUs: those named by the operator, and those where agents ran last. */
#include <linux/cpumask.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/sysctl.h>

#include "compat.h"
#include "cpus.h"
#include "placement.h"

static char *agent_cpus = "";
module_param(agent_cpus, charp, 0);
MODULE_PARM_DESC(agent_cpus,
		 "CPU list that counts as agent CPUs without an attached thread (default: none); later: sysctl kernel.agent_latency.agent_cpus");

/* Named by the operator. Written under named_lock; readers take a bit as it is. */
static struct cpumask named;
static DEFINE_MUTEX(named_lock);
/* How many agents ran last on each CPU. */
static DEFINE_PER_CPU(atomic_t, residents);

bool agent_cpus_has(unsigned int cpu)
{
	return cpumask_test_cpu(cpu, &named) || atomic_read(per_cpu_ptr(&residents, cpu)) > 0;
}

bool agent_cpus_any_named(void)
{
	return !cpumask_empty(&named);
}

void agent_cpus_move(unsigned int from, unsigned int to)
{
	if (from == to)
		return;
	if (from != AGENT_NO_CPU)
		atomic_dec(per_cpu_ptr(&residents, from));
	if (to != AGENT_NO_CPU)
		atomic_inc(per_cpu_ptr(&residents, to));
}

static int name_cpus(const char *list)
{
	cpumask_var_t mask;
	int err;

	if (!zalloc_cpumask_var(&mask, GFP_KERNEL))
		return -ENOMEM;
	err = cpulist_parse(list, mask);
	if (!err && !cpumask_subset(mask, cpu_possible_mask))
		err = -EINVAL;
	if (!err) {
		mutex_lock(&named_lock);
		cpumask_copy(&named, mask);
		mutex_unlock(&named_lock);
	}
	free_cpumask_var(mask);
	return err;
}

/* A CPU list, as `0,2-3`; an empty line clears it. */
static int named_handler(AGENT_CTL_TABLE *table, int write, void *buffer, size_t *length,
			 loff_t *position)
{
	struct ctl_table text = { .maxlen = PAGE_SIZE };
	int err;

	text.data = kzalloc(PAGE_SIZE, GFP_KERNEL);
	if (!text.data)
		return -ENOMEM;
	mutex_lock(&named_lock);
	scnprintf(text.data, PAGE_SIZE, "%*pbl", cpumask_pr_args(&named));
	mutex_unlock(&named_lock);
	err = proc_dostring(&text, write, buffer, length, position);
	if (!err && write)
		err = name_cpus(text.data);
	if (!err && write)
		agent_placement_follow();
	kfree(text.data);
	return err;
}

static struct ctl_table table[] = {
	{
		.procname = "agent_cpus",
		.maxlen = PAGE_SIZE,
		.mode = 0644,
		.proc_handler = named_handler,
	},
	AGENT_SYSCTL_END
};

static struct ctl_table_header *header;

int agent_cpus_init(void)
{
	int err = name_cpus(agent_cpus);

	if (err) {
		pr_err("agent_cpus=%s is no list of this machine's CPUs\n", agent_cpus);
		return err;
	}
	header = register_sysctl("kernel/agent_latency", table);
	return header ? 0 : -ENOMEM;
}

void agent_cpus_exit(void)
{
	unregister_sysctl_table(header);
}
