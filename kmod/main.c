// SPDX-License-Identifier: GPL-2.0-only
/* Ordered init and its reverse. */
#include <linux/debugfs.h>
#include <linux/module.h>

#include "agents.h"
#include "attribution.h"
#include "cpus.h"
#include "debugfs.h"
#include "device.h"
#include "guardrail.h"
#include "napi.h"
#include "placement.h"
#include "tally.h"
#include "x86_state.h"

struct dentry *agent_debugfs;

struct part {
	int (*init)(void);
	void (*exit)(void);
};

/*
 * Each may use those above it. The device comes last: from then on user space may attach threads.
 * While any file of it is open the module cannot be unloaded (fops.owner).
 */
static const struct part parts[] = {
	{ agent_cpus_init, agent_cpus_exit },
	{ agent_x86_state_init, NULL },
	{ agent_tally_init, agent_tally_exit },
	{ agent_attribution_init, agent_attribution_exit },
	{ agent_napi_init, agent_napi_exit },
	{ agent_guardrail_init, agent_guardrail_exit },
	{ agents_init, agents_exit },
	{ agent_placement_init, agent_placement_exit },
	{ agent_device_init, agent_device_exit },
};

/* Whoever reads one of the files is waited for. */
static void undo(unsigned int count)
{
	debugfs_remove(agent_debugfs);
	while (count--)
		if (parts[count].exit)
			parts[count].exit();
}

static int __init agent_latency_init(void)
{
	unsigned int i;
	int err;

	agent_debugfs = debugfs_create_dir("agent_latency", NULL);
	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		err = parts[i].init();
		if (err) {
			undo(i);
			return err;
		}
	}
	return 0;
}

static void __exit agent_latency_exit(void)
{
	undo(ARRAY_SIZE(parts));
}

module_init(agent_latency_init);
module_exit(agent_latency_exit);

MODULE_DESCRIPTION("Per-step interrupt attribution, placement and softirq bounds for agents");
MODULE_AUTHOR("The agenttune project");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
