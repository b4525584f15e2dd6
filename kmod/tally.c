// SPDX-License-Identifier: GPL-2.0-only
/* Totals without a tracer: debugfs agent_latency/agents and agent_latency/steps. */
#include <linux/debugfs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>

#include "agents.h"
#include "cpus.h"
#include "debugfs.h"
#include "tally.h"

struct kept {
	struct at_step_record record;
	struct agent_told told;
};

/*
 * A ring of the last steps. The lock is raw and nests inside agent->lock; it is held for one copy
 * (about 500 bytes) by writers, and by the reader for one step at a time.
 */
static struct kept *ring;
static u64 written;
static DEFINE_RAW_SPINLOCK(ring_lock);

/* In the order of enum at_bucket. */
static const char *const buckets[AT_BUCKETS] = {
	"run", "syscall", "fault", "stolen_hardirq", "stolen_softirq", "wake_ipi", "run_queue",
	"preempted", "throttled", "external", "chain_hardirq", "chain_pending", "chain_softirq",
	"chain_thread", "event_loop", "unseen"
};

static const char *const kinds[] = { "other", "tool", "model" };

void agent_tally_step(const struct agent *agent, const struct at_step_record *record,
		      const struct agent_told *told)
{
	struct kept *kept;

	raw_spin_lock(&ring_lock);
	kept = &ring[written++ % AGENT_TALLY_STEPS];
	kept->record = *record;
	kept->told = *told;
	raw_spin_unlock(&ring_lock);
}

static void show_softirq(struct seq_file *file, int softirq)
{
	static const char *const names[] = { "HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL",
					     "TASKLET", "SCHED", "HRTIMER", "RCU" };

	if (softirq >= 0 && softirq < ARRAY_SIZE(names))
		seq_printf(file, " softirq=%s", names[softirq]);
	else
		seq_puts(file, " softirq=-");
}

/* Names come from user space: what would break the line is replaced. */
static void show_name(struct seq_file *file, const char *key, const char *name, unsigned int size)
{
	unsigned int i;

	seq_printf(file, " %s=", key);
	for (i = 0; i < size && name[i]; i++)
		seq_putc(file, name[i] > ' ' && name[i] < 0x7f ? name[i] : '_');
	if (!i)
		seq_putc(file, '-');
}

static void show_step(struct seq_file *file, const struct kept *kept)
{
	const struct at_step_record *record = &kept->record;
	unsigned int i;

	seq_printf(file, "step=%llu tid=%u", record->id, record->tid);
	show_name(file, "comm", (const char *)record->comm, sizeof(record->comm));
	show_name(file, "name", (const char *)record->name, sizeof(record->name));
	seq_printf(file, " kind=%s begin_ns=%llu ns=%llu deadline_ns=%llu budget_us=%u",
		   kinds[record->kind % ARRAY_SIZE(kinds)], record->begin_ns,
		   record->end_ns - record->begin_ns, record->deadline_ns, record->budget_us);
	seq_printf(file, " completions=%u running=%u irq=%d", kept->told.completions,
		   kept->told.running, kept->told.irq);
	show_softirq(file, kept->told.softirq);
	seq_printf(file, " cpu=%u chain_ns=%llu waits=%u preemptions=%u migrations=%u",
		   kept->told.cpu, kept->told.chain_ns, record->counts.waits,
		   record->counts.preemptions, record->counts.migrations);
	for (i = 0; i < AT_BUCKETS; i++)
		seq_printf(file, " %s_ns=%llu", buckets[i], record->buckets_ns[i]);
	seq_putc(file, '\n');
}

/* Only one reader's copy exists at a time. */
static DEFINE_MUTEX(reading_lock);
static struct kept copy;

static bool read_step(u64 index)
{
	bool kept;

	raw_spin_lock_irq(&ring_lock);
	kept = index < written && written - index <= AGENT_TALLY_STEPS;
	if (kept)
		copy = ring[index % AGENT_TALLY_STEPS];
	raw_spin_unlock_irq(&ring_lock);
	return kept;
}

/* The oldest first. Steps that end meanwhile may take the place of some that were to be shown. */
static int steps_show(struct seq_file *file, void *data)
{
	u64 end, index;

	mutex_lock(&reading_lock);
	raw_spin_lock_irq(&ring_lock);
	end = written;
	raw_spin_unlock_irq(&ring_lock);
	seq_printf(file, "# %llu steps ended since load; the last %u at most are here\n", end,
		   AGENT_TALLY_STEPS);
	index = end > AGENT_TALLY_STEPS ? end - AGENT_TALLY_STEPS : 0;
	for (; index < end; index++)
		if (read_step(index))
			show_step(file, &copy);
	mutex_unlock(&reading_lock);
	return 0;
}

DEFINE_SHOW_ATTRIBUTE(steps);

/* Read without its lock, so of numbers that change together some may be older. */
static void show_agent(struct agent *agent, void *data)
{
	struct seq_file *file = data;
	unsigned int i, cpu = READ_ONCE(agent->cpu);

	seq_printf(file, "tid=%d tgid=%d", agent->task->pid, agent->task->tgid);
	show_name(file, "comm", agent->task->comm, TASK_COMM_LEN);
	seq_printf(file, " cpu=%d steps=%llu unseen_steps=%llu completions=%llu running=%llu",
		   cpu == AGENT_NO_CPU ? -1 : (int)cpu, READ_ONCE(agent->steps),
		   READ_ONCE(agent->unseen_steps), READ_ONCE(agent->completions),
		   READ_ONCE(agent->running));
	seq_printf(file, " refused=%llu stray=%llu unbound=%llu open=%u coalesced=%u unattributed=%u",
		   READ_ONCE(agent->refused), READ_ONCE(agent->stray), READ_ONCE(agent->unbound),
		   READ_ONCE(agent->thread.open_steps), READ_ONCE(agent->thread.counts.coalesced),
		   READ_ONCE(agent->thread.counts.unattributed));
	seq_puts(file, " irqs=");
	for (i = 0; i < AGENT_IRQS && i < READ_ONCE(agent->nr_irqs); i++)
		seq_printf(file, "%s%u", i ? "," : "", READ_ONCE(agent->irqs[i]));
	for (i = 0; i < AT_BUCKETS; i++)
		seq_printf(file, " %s_ns=%llu", buckets[i], READ_ONCE(agent->thread.total_ns[i]));
	seq_putc(file, '\n');
}

static int agents_show(struct seq_file *file, void *data)
{
	seq_printf(file, "# %u threads attached\n", agents_count());
	agents_each(show_agent, file);
	return 0;
}

DEFINE_SHOW_ATTRIBUTE(agents);

int agent_tally_init(void)
{
	ring = kvcalloc(AGENT_TALLY_STEPS, sizeof(*ring), GFP_KERNEL);
	if (!ring)
		return -ENOMEM;
	debugfs_create_file("agents", 0400, agent_debugfs, NULL, &agents_fops);
	debugfs_create_file("steps", 0400, agent_debugfs, NULL, &steps_fops);
	return 0;
}

/* The files went with their folder before: nobody reads any more. */
void agent_tally_exit(void)
{
	kvfree(ring);
}
