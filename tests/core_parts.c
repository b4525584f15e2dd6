// SPDX-License-Identifier: GPL-2.0-only
/* Two pure functions of the core as a shared object, for test_core_parts.py. */
#include <linux/types.h>
#include "stages.h"

/* points: irq_ns, raise_ns, entry_ns, thread_ns */
void split(const __u64 *points, __u64 out_ns, __u64 end, __u64 *buckets)
{
	struct at_cause cause = { .irq_ns = points[0], .raise_ns = points[1],
				  .entry_ns = points[2], .thread_ns = points[3] };

	at_split_blocked(&cause, out_ns, end, buckets);
}

/* Turns in `starts` and `tids`; told: tid, held, seen, idle, comm's first word. */
void holder(const __u64 *starts, const __u32 *tids, __u32 turns, __u64 from, __u64 to,
	    __u64 *told)
{
	struct at_history history = {};
	struct at_holder found;
	__u32 index;

	__builtin_memset(&found, 0xff, sizeof(found));
	for (index = 0; index < turns; index++) {
		__u64 comm[AT_COMM_WORDS] = { 1000 + tids[index] };

		at_history_switch(&history, tids[index], comm, starts[index]);
	}
	at_find_holder(&history, from, to, &found);
	told[0] = found.tid;
	told[1] = found.held_ns;
	told[2] = found.seen_ns;
	told[3] = found.idle_ns;
	told[4] = found.tid ? found.comm[0] : 0;
	told[5] = found.softirq.weight_ns + found.hardirq.weight_ns;
}
