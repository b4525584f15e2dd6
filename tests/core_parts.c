// SPDX-License-Identifier: GPL-2.0-only
/* Pure functions of the core as a shared object, for test_core_parts.py. */
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

/* A softirq that was raised at `raise` and entered at `entry` serves irq 7, which came at `irq`. */
void serve(__u64 raise, __u64 entry, __u64 irq, __u64 *told)
{
	struct at_cpu cpu = {};
	struct at_stamp stamp = { .now_ns = entry };
	struct at_cause of = { .irq = 7, .irq_ns = irq, .flags = AT_CAUSE_IRQ };

	at_hardirq_enter(&cpu, 5, raise);
	at_softirq_raise(&cpu, 3, 0, raise);
	at_hardirq_exit(&cpu, 5, raise);
	at_softirq_enter(&cpu, 3, stamp);
	at_softirq_share(&cpu, 3);
	at_softirq_serve(&cpu, &of);
	told[0] = cpu.softirq.cause.irq;
	told[1] = cpu.softirq.cause.flags;
	told[2] = at_chain_begin(&cpu.softirq.cause, entry + 1000);
	told[3] = cpu.softirq.cause.raise_ns;
	told[4] = cpu.softirq.cause.entry_ns;
}

/* A handler that began at 10 has told its exit; `between` happens; then its thread is woken at 50. */
void threaded(int between, __u64 *told)
{
	struct at_stamp stamp = { .now_ns = 30 };
	struct at_cpu cpu = { .id = 2 };
	struct at_cause cause;

	at_task(&cpu, 99, 0, 0);
	at_hardirq_enter(&cpu, 7, 10);
	at_hardirq_exit(&cpu, 7, 20);
	if (between == 1)
		at_hardirq_enter(&cpu, 8, 30);
	if (between == 2)
		at_softirq_enter(&cpu, 3, stamp);
	if (between == 3)
		at_task(&cpu, 98, 0, 0);
	cause = at_cause_threaded(&cpu, 5, 50);
	told[0] = cause.flags;
	told[1] = cause.flags & AT_CAUSE_IRQ ? cause.irq : cause.origin;
	told[2] = cause.irq_ns;
	told[3] = cause.thread_ns;
	told[4] = cause.conduit;
}
