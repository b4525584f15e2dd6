// SPDX-License-Identifier: GPL-2.0-only
/* Tracepoints by name: most that the module needs are not exported. */
#include <linux/string.h>

#include "probes.h"

struct search {
	struct agent_probe *probes;
	unsigned int count;
};

static void match(struct tracepoint *tracepoint, void *data)
{
	struct search *search = data;
	unsigned int i;

	for (i = 0; i < search->count; i++)
		if (!strcmp(tracepoint->name, search->probes[i].name))
			search->probes[i].tracepoint = tracepoint;
}

int agent_probes_find(struct agent_probe *probes, unsigned int count)
{
	struct search search = { .probes = probes, .count = count };
	unsigned int i;

	for_each_kernel_tracepoint(match, &search);
	for (i = 0; i < count; i++) {
		if (probes[i].tracepoint || probes[i].optional)
			continue;
		pr_err("this kernel has no tracepoint %s\n", probes[i].name);
		return -ENOENT;
	}
	return 0;
}

int agent_probes_register(struct agent_probe *probes, unsigned int count)
{
	unsigned int i;
	int err;

	for (i = 0; i < count; i++) {
		if (!probes[i].tracepoint)
			continue;
		err = tracepoint_probe_register(probes[i].tracepoint, probes[i].function, NULL);
		if (err) {
			agent_probes_unregister(probes, i);
			return err;
		}
		probes[i].registered = true;
	}
	return 0;
}

void agent_probes_unregister(struct agent_probe *probes, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (!probes[i].registered)
			continue;
		tracepoint_probe_unregister(probes[i].tracepoint, probes[i].function, NULL);
		probes[i].registered = false;
	}
	tracepoint_synchronize_unregister();
}
