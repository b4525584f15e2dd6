// SPDX-License-Identifier: GPL-2.0-only
/* From kernel events to the core in ../bpf: interrupts and softirqs, and the set of all probes. */
#include <linux/interrupt.h>
#include <linux/kernel.h>
#include <linux/netdevice.h>

#include "agents.h"
#include "attribution.h"
#include "completion.h"
#include "core.h"
#include "napi.h"
#include "napi_source.h"
#include "probes.h"
#include "step.h"
#include "turn.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

DEFINE_PER_CPU(struct agent_core, agent_cores);

/* Between start and stop. */
static bool running;

/* Interrupts that landed on an agent in a step, not on a softirq's or another task's time. */
static void tell_stolen(u32 stage, int irq, int softirq, u64 self_ns)
{
	struct agent *agent = agents_find(current);
	unsigned long flags;
	u64 step_id;

	if (!agent)
		return;
	raw_spin_lock_irqsave(&agent->lock, flags);
	step_id = agent_step_current(agent);
	raw_spin_unlock_irqrestore(&agent->lock, flags);
	if (step_id)
		trace_agent_irq_stage(step_id, agent->task->pid, stage, irq, softirq,
				      smp_processor_id(), self_ns);
}

static void enter_hardirq(u32 id)
{
	at_hardirq_enter(&this_cpu_ptr(&agent_cores)->frames, id, agent_now_ns());
}

static void exit_hardirq(u32 id)
{
	struct agent_core *core = this_cpu_ptr(&agent_cores);
	u64 self_ns = at_hardirq_exit(&core->frames, id, agent_now_ns());

	if (self_ns != AT_UNKNOWN && trace_agent_irq_stage_enabled())
		tell_stolen(AGENT_STAGE_STOLEN_HARDIRQ, agent_irq_number(id), -1, self_ns);
}

/* Interrupts are off. Several actions of one line enter and exit one after the other. */
static void probe_irq_entry(void *data, int irq, struct irqaction *action)
{
	enter_hardirq(irq);
	agent_napi_source_begin(this_cpu_ptr(&agent_cores));
}

static void probe_irq_exit(void *data, int irq, struct irqaction *action, int ret)
{
	agent_napi_source_end(this_cpu_ptr(&agent_cores));
	exit_hardirq(irq);
}

/* x86 interrupts without a number: asm/trace/irq_vectors.h, with CONFIG_X86_LOCAL_APIC. */
#define ARCH_PROBE(name, arch)                                     \
	static void probe_##name##_entry(void *data, int vector)   \
	{                                                          \
		enter_hardirq(AT_ARCH_ID + (arch));                \
	}                                                          \
	static void probe_##name##_exit(void *data, int vector)    \
	{                                                          \
		exit_hardirq(AT_ARCH_ID + (arch));                 \
	}

ARCH_PROBE(local_timer, AT_LOC)
ARCH_PROBE(reschedule, AT_RES)
ARCH_PROBE(call_function, AT_CAL)
ARCH_PROBE(call_function_single, AT_CAL_SINGLE)
ARCH_PROBE(irq_work, AT_IWI)

/* __raise_softirq_irqoff(), kernel/softirq.c, v6.12: before the bit is set, interrupts off. */
static void probe_softirq_raise(void *data, unsigned int vector)
{
	struct agent_core *core = this_cpu_ptr(&agent_cores);
	bool pending = local_softirq_pending() & BIT(vector);

	if (vector == NET_RX_SOFTIRQ)
		agent_napi_source_raised(core);
	at_softirq_raise(&core->frames, vector, pending, pending ? 0 : agent_now_ns());
}

static void probe_softirq_entry(void *data, unsigned int vector)
{
	struct at_cpu *frames = &this_cpu_ptr(&agent_cores)->frames;

	at_softirq_enter(frames, vector, agent_stable_stamp(frames));
}

static void probe_softirq_exit(void *data, unsigned int vector)
{
	struct agent_core *core = this_cpu_ptr(&agent_cores);
	u64 self_ns = at_softirq_exit(&core->frames, vector, agent_stable_stamp(&core->frames));

	if (self_ns != AT_UNKNOWN && trace_agent_irq_stage_enabled())
		tell_stolen(AGENT_STAGE_STOLEN_SOFTIRQ,
			    agent_cause_irq(&core->frames.softirq.cause), vector, self_ns);
}

#define ARCH_PROBES(arch)                                                                       \
	{ .name = #arch "_entry", .function = probe_##arch##_entry, .optional = true },         \
	{ .name = #arch "_exit", .function = probe_##arch##_exit, .optional = true }

/*
 * In this order: an interrupt that begins before its entry is probed has no frame, and its exit is
 * one without an entry, which the core counts and ignores.
 */
static struct agent_probe probes[] = {
	{ .name = "irq_handler_entry", .function = probe_irq_entry },
	{ .name = "irq_handler_exit", .function = probe_irq_exit },
	ARCH_PROBES(local_timer),
	ARCH_PROBES(reschedule),
	ARCH_PROBES(call_function),
	ARCH_PROBES(call_function_single),
	ARCH_PROBES(irq_work),
	{ .name = "softirq_raise", .function = probe_softirq_raise },
	{ .name = "softirq_entry", .function = probe_softirq_entry },
	{ .name = "softirq_exit", .function = probe_softirq_exit },
};

u64 agent_attribution_features(void)
{
	u64 features = agent_step_features() | agent_completion_features();

	if (agent_napi_hooked())
		features |= AGENT_LATENCY_NAPI | AGENT_LATENCY_GUARDRAIL;
	return features;
}

/* What was open when the probes went away last must not be taken for what is open now. */
static void forget_frames(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		struct agent_core *core = per_cpu_ptr(&agent_cores, cpu);
		u64 hardirq_ns = core->frames.hardirq_ns, softirq_ns = core->frames.softirq_ns;

		memset(core, 0, sizeof(*core));
		core->frames.id = cpu;
		core->frames.hardirq_ns = hardirq_ns;
		core->frames.softirq_ns = softirq_ns;
	}
}

int agent_attribution_start(void)
{
	int err;

	forget_frames();
	err = agent_probes_register(probes, ARRAY_SIZE(probes));
	if (err)
		return err;
	err = agent_completion_start();
	if (err)
		goto err_interrupts;
	err = agent_turn_start();
	if (err)
		goto err_completion;
	err = agent_step_start();
	if (err)
		goto err_turn;
	WRITE_ONCE(running, true);
	return 0;

err_turn:
	agent_turn_stop();
err_completion:
	agent_completion_stop();
err_interrupts:
	agent_probes_unregister(probes, ARRAY_SIZE(probes));
	return err;
}

void agent_attribution_stop(void)
{
	WRITE_ONCE(running, false);
	agent_step_stop();
	agent_turn_stop();
	agent_completion_stop();
	agent_probes_unregister(probes, ARRAY_SIZE(probes));
}

bool agent_attribution_runs(void)
{
	return READ_ONCE(running);
}

void agent_attribution_noise(unsigned int cpu, u64 *hardirq_ns, u64 *softirq_ns)
{
	const struct at_cpu *frames = &per_cpu_ptr(&agent_cores, cpu)->frames;

	*hardirq_ns = READ_ONCE(frames->hardirq_ns);
	*softirq_ns = READ_ONCE(frames->softirq_ns);
}

void agent_attribution_poll_begin(const struct napi_struct *napi)
{
	if (agent_attribution_runs())
		agent_napi_source_serve(this_cpu_ptr(&agent_cores), napi);
}

void agent_attribution_poll_end(const struct napi_struct *napi)
{
	if (agent_attribution_runs())
		agent_napi_source_served(this_cpu_ptr(&agent_cores));
}

int agent_attribution_init(void)
{
	int err = agent_probes_find(probes, ARRAY_SIZE(probes));

	if (err)
		return err;
	err = agent_turn_init();
	if (err)
		return err;
	err = agent_completion_init();
	if (err)
		return err;
	err = agent_step_init();
	if (err)
		agent_completion_exit();
	return err;
}

void agent_attribution_exit(void)
{
	agent_step_exit();
	agent_completion_exit();
}
