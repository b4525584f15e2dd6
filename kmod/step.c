// SPDX-License-Identifier: GPL-2.0-only
/* Marks: where the steps of an agent begin and end, and what completed in them. */
#include <linux/kprobes.h>
#include <linux/minmax.h>
#include <linux/uaccess.h>

#include "completion.h"
#include "core.h"
#include "probes.h"
#include "step.h"
#include "tally.h"

/* prctl()'s option and the words of a mark: agenttune/include/agenttune.h describes them. */
#define MARK_OPTION 0x41475354
#define MARK_OP 0xff
#define MARK_KINDS 3

enum { MARK_BEGIN = 1, MARK_END, MARK_BIND, MARK_UNBIND };

struct mark {
	u64 word;
	u64 step_id;
	u64 third; /* deadline_ns, or a socket's cookie */
	u64 budget; /* us in the lower half, the lane in the upper */
};

u64 agent_step_current(const struct agent *agent)
{
	const struct at_thread *thread = &agent->thread;
	u64 id, newest_ns = 0;
	unsigned int i;

	if (agent->retired)
		return 0;
	id = READ_ONCE(agent->slot->step_id);
	if (id)
		return id;
	/* Over in the slot, and not noticed yet. */
	if (agent->seen_id)
		return 0;
	for (i = 0; i < AT_STEPS; i++)
		if (thread->steps[i].id && thread->steps[i].begin_ns >= newest_ns) {
			newest_ns = thread->steps[i].begin_ns;
			id = thread->steps[i].id;
		}
	return id;
}

static void tell_to(struct agent_told *told, const struct at_chain *chain, bool found_running,
		    u64 chain_ns)
{
	told->completions++;
	told->running += found_running;
	told->irq = agent_cause_irq(&chain->cause);
	told->softirq = (int)chain->vector - 1;
	told->cpu = chain->cpu;
	told->chain_ns = chain_ns;
}

/* Where the completions of a step are counted; NULL: it is not open. */
static struct agent_told *told_of(struct agent *agent, u64 step_id)
{
	unsigned int i;

	for (i = 0; i < AT_STEPS; i++)
		if (agent->thread.steps[i].id == step_id)
			return &agent->told[i];
	if (step_id != READ_ONCE(agent->slot->step_id))
		return NULL;
	if (agent->early_id != step_id)
		agent->early = (struct agent_told){ .irq = -1, .softirq = -1 };
	agent->early_id = step_id;
	return &agent->early;
}

void agent_step_complete(struct agent *agent, u64 step_id, const struct at_chain *chain, u32 stage,
			 u64 now_ns)
{
	struct agent_told *told = step_id ? told_of(agent, step_id) : NULL;
	u64 chain_ns;

	if (!told)
		return;
	chain_ns = at_after(now_ns, at_chain_begin(&chain->cause, now_ns));
	tell_to(told, chain, stage == AGENT_STAGE_RUNNING, chain_ns);
	agent->completions++;
	agent->running += stage == AGENT_STAGE_RUNNING;
	trace_agent_irq_stage(step_id, agent->task->pid, stage, told->irq, told->softirq,
			      chain->cpu, chain_ns);
}

static void begin_step(struct agent *agent, const struct at_cpu *frames, const struct mark *mark,
		       const u64 *name, struct at_stamp now)
{
	struct at_thread *thread = &agent->thread;
	u32 kind = mark->word >> 8 & MARK_OP;
	struct at_step *step;
	unsigned int i;

	step = at_step_begin(thread, frames, mark->step_id, kind < MARK_KINDS ? kind : 0,
			     mark->budget >> 32, now);
	if (!step) {
		agent->refused++;
		return;
	}
	step->deadline_ns = mark->third;
	step->budget_us = mark->budget;
	for (i = 0; i < AT_STEP_NAME_WORDS; i++)
		step->name[i] = name[i];
	agent->told[step - thread->steps] = (struct agent_told){ .irq = -1, .softirq = -1 };
	trace_agent_step_begin(step->id, thread->tid, step->begin_ns, step->deadline_ns,
			       step->budget_us);
}

static void tell_end(const struct at_step_record *record, const struct agent_told *told)
{
	u64 duration_ns = record->end_ns - record->begin_ns;
	u64 budget_ns = (u64)record->budget_us * NSEC_PER_USEC;
	u64 late_ns = 0, over_us = 0;

	if (record->deadline_ns)
		late_ns = at_after(record->end_ns, record->deadline_ns);
	if (record->budget_us)
		over_us = at_after(duration_ns, budget_ns) / NSEC_PER_USEC;
	trace_agent_step_end(record->id, record->tid, duration_ns, late_ns, over_us,
			     told->completions);
}

static void end_step(struct agent *agent, const struct at_cpu *frames, struct at_step *step,
		     struct at_stamp now)
{
	struct at_thread *thread = &agent->thread;
	struct agent_told *told = &agent->told[step - thread->steps];
	struct at_step_record record;
	struct at_ready ready;
	bool bound = step->cookie &&
		     agent_completion_unbind(agent, step->id, step->cookie, &ready);

	at_step_end(thread, frames, step, bound ? &ready : NULL, now, &record);
	memcpy(record.comm, agent->task->comm, sizeof(record.comm));
	agent->steps++;
	tell_end(&record, told);
	agent_tally_step(agent, &record, told);
}

static struct at_stamp stamp_at(struct at_stamp now, u64 then_ns, u64 reached_ns)
{
	if (then_ns)
		now.now_ns = clamp(then_ns, min(reached_ns, now.now_ns), now.now_ns);
	return now;
}

/*
 * User space may store anything at any time: each word is read once, and times are kept between
 * what is accounted for already and now.
 */
void agent_step_sync(struct agent *agent, const struct at_cpu *frames, struct at_stamp now)
{
	const struct agent_latency_slot *slot = agent->slot;
	struct at_thread *thread = &agent->thread;
	/* Pairs with the release store that marks a step: uapi/agent_latency.h. */
	u64 id = smp_load_acquire(&slot->step_id);
	u32 begun = READ_ONCE(slot->begun), missed = begun - agent->seen_begun;
	static const u64 no_name[AT_STEP_NAME_WORDS];
	struct at_step *open;
	struct mark mark = {};

	if (id == agent->seen_id && !missed)
		return;
	open = agent->seen_id ? at_step_find(thread, agent->seen_id) : NULL;
	if (open)
		end_step(agent, frames, open,
			 stamp_at(now, READ_ONCE(slot->end_ns), at_thread_reached(thread)));
	agent->unseen_steps += missed - (id && missed);
	agent->seen_begun = begun;
	agent->seen_id = id;
	if (!id)
		return;
	mark.step_id = id;
	mark.word = (u64)(READ_ONCE(slot->kind) & MARK_OP) << 8;
	mark.third = READ_ONCE(slot->deadline_ns);
	mark.budget = READ_ONCE(slot->budget_us);
	begin_step(agent, frames, &mark, no_name,
		   stamp_at(now, READ_ONCE(slot->begin_ns), at_thread_reached(thread)));
	open = at_step_find(thread, id);
	if (open && agent->early_id == id)
		agent->told[open - thread->steps] = agent->early;
	agent->early_id = 0;
}

/* At most 23 bytes, of pages that are there: a mark takes no page fault. */
static void read_name(u64 address, u64 *words)
{
	char *name = (char *)words;
	unsigned long left;

	memset(words, 0, AT_STEP_NAME_WORDS * sizeof(*words));
	if (!address || !access_ok((void __user *)address, sizeof(*words) * AT_STEP_NAME_WORDS))
		return;
	pagefault_disable();
	left = __copy_from_user_inatomic(name, (void __user *)address,
					 sizeof(*words) * AT_STEP_NAME_WORDS - 1);
	pagefault_enable();
	/* What could not be read is 0 or untouched; a name ends at its first 0. */
	if (left > sizeof(*words) * AT_STEP_NAME_WORDS - 1)
		return;
	left = strnlen(name, sizeof(*words) * AT_STEP_NAME_WORDS - 1);
	memset(name + left, 0, sizeof(*words) * AT_STEP_NAME_WORDS - left);
}

static void bind_socket(struct agent *agent, const struct mark *mark)
{
	struct at_step *step;

	if (!mark->third)
		return;
	if (!agent_completion_bind(agent, mark->step_id, mark->third)) {
		agent->unbound++;
		return;
	}
	step = at_step_find(&agent->thread, mark->step_id);
	step->cookie = mark->third;
	step->flags |= AT_STEP_BOUND;
}

/* Interrupts are off and agent->lock is held; the agent is current. */
static void take(struct agent *agent, const struct mark *mark, const u64 *name)
{
	const struct at_cpu *frames = &this_cpu_ptr(&agent_cores)->frames;
	struct at_stamp now = at_stamp(frames, agent_now_ns());
	struct at_thread *thread = &agent->thread;
	struct at_step *step;
	struct at_ready ready;

	if (thread->state == AT_NEW)
		at_thread_seen(thread, frames, agent->task->pid, agent->task->tgid, now);
	if ((mark->word & MARK_OP) == MARK_BEGIN) {
		begin_step(agent, frames, mark, name, now);
		return;
	}
	step = at_step_find(thread, mark->step_id);
	if (!step) {
		agent->stray++;
		return;
	}
	switch (mark->word & MARK_OP) {
	case MARK_END:
		end_step(agent, frames, step, now);
		break;
	case MARK_BIND:
		bind_socket(agent, mark);
		break;
	case MARK_UNBIND:
		if (step->cookie == mark->third)
			step->cookie = 0;
		agent_completion_unbind(agent, mark->step_id, mark->third, &ready);
		break;
	}
}

static void take_mark(const struct mark *mark)
{
	struct agent *agent = agents_find(current);
	u64 name[AT_STEP_NAME_WORDS] = {};
	unsigned long flags;

	if (!agent)
		return;
	if ((mark->word & MARK_OP) == MARK_BEGIN)
		read_name(mark->word >> 16, name);
	raw_spin_lock_irqsave(&agent->lock, flags);
	if (!agent->retired)
		take(agent, mark, name);
	raw_spin_unlock_irqrestore(&agent->lock, flags);
}

/* v6.13, 57fbad15c2ee: made for such markers. */
static void probe_prctl(void *data, int option, unsigned long word, unsigned long step_id,
			unsigned long third, unsigned long budget)
{
	struct mark mark = { word, step_id, third, budget };

	if (option == MARK_OPTION)
		take_mark(&mark);
}

/* Before that: the entry of the system call, whose only argument is the caller's registers. */
static int hook_prctl(struct kprobe *kprobe, struct pt_regs *regs)
{
	const struct pt_regs *user = (const struct pt_regs *)regs->di;
	struct mark mark = { user->si, user->dx, user->r10, user->r8 };

	if ((int)user->di == MARK_OPTION)
		take_mark(&mark);
	return 0;
}

static struct agent_probe prctl_probe = {
	.name = "task_prctl_unknown", .function = probe_prctl, .optional = true
};

/* Registered at init, which tells whether the kernel allows it, and armed while agents are. */
static struct kprobe prctl_hook = {
	.symbol_name = "__x64_sys_prctl",
	.pre_handler = hook_prctl,
	.flags = KPROBE_FLAG_DISABLED,
};

static bool prctl_hooked;

u64 agent_step_features(void)
{
	return prctl_probe.tracepoint || prctl_hooked ? AGENT_LATENCY_PRCTL : 0;
}

int agent_step_start(void)
{
	int err = agent_probes_register(&prctl_probe, 1);

	if (!err && prctl_hooked)
		err = enable_kprobe(&prctl_hook);
	if (err)
		agent_probes_unregister(&prctl_probe, 1);
	return err;
}

void agent_step_stop(void)
{
	if (prctl_hooked)
		disable_kprobe(&prctl_hook);
	agent_probes_unregister(&prctl_probe, 1);
}

/* A kernel without the one and the other lacks a feature, no more: the page is left for marks. */
int agent_step_init(void)
{
	agent_probes_find(&prctl_probe, 1);
	prctl_hooked = !prctl_probe.tracepoint && !register_kprobe(&prctl_hook);
	return 0;
}

void agent_step_exit(void)
{
	if (prctl_hooked)
		unregister_kprobe(&prctl_hook);
}
