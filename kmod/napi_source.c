// SPDX-License-Identifier: GPL-2.0-only
/* Which interrupt's work a NET_RX softirq does now. */
#include <linux/hash.h>
#include <linux/log2.h>
#include <linux/netdevice.h>

#include "napi_source.h"

/*
 * By NAPI id, for completions that are found after the softirq. Direct-mapped; words are written
 * and read whole, the id last and first: who reads a torn entry sees another id.
 */
#define IDS 256

static struct {
	unsigned int id;
	u32 irq;
	u32 cpu;
} ids[IDS];

static void note_id(const struct napi_struct *napi, u32 irq, u32 cpu)
{
	unsigned int id = napi->napi_id, i = id % IDS;

	if (!id || (READ_ONCE(ids[i].id) == id && ids[i].irq == irq && ids[i].cpu == cpu))
		return;
	WRITE_ONCE(ids[i].id, 0);
	smp_wmb(); /* pairs with both in agent_napi_source_of() */
	WRITE_ONCE(ids[i].irq, irq);
	WRITE_ONCE(ids[i].cpu, cpu);
	smp_store_release(&ids[i].id, id); /* pairs with the acquire in agent_napi_source_of() */
}

bool agent_napi_source_of(unsigned int napi_id, u32 *irq, u32 *cpu)
{
	unsigned int i = napi_id % IDS;

	/* Pairs with the release in note_id(). */
	if (!napi_id || smp_load_acquire(&ids[i].id) != napi_id)
		return false;
	*irq = READ_ONCE(ids[i].irq);
	*cpu = READ_ONCE(ids[i].cpu);
	smp_rmb(); /* pairs with smp_wmb() in note_id() */
	return READ_ONCE(ids[i].id) == napi_id;
}

/* ____napi_schedule(), net/core/dev.c, v6.12: at the end, interrupts off. */
static const struct list_head *poll_list(void)
{
	return &this_cpu_ptr(&softnet_data)->poll_list;
}

static struct agent_napi_source *source_of(struct agent_core *core, const void *napi)
{
	return &core->sources[hash_ptr(napi, ilog2(AGENT_NAPI_SOURCES))];
}

/* Handlers of one CPU do not nest where NAPIs are scheduled; an inner one looks again. */
void agent_napi_source_begin(struct agent_core *core)
{
	core->poll_list_end = poll_list()->prev;
}

static void note(struct agent_core *core, const struct list_head *entry,
		 const struct at_cause *cause)
{
	const struct napi_struct *napi = list_entry(entry, struct napi_struct, poll_list);
	struct agent_napi_source *source = source_of(core, napi);

	source->napi = napi;
	source->cause = *cause;
	note_id(napi, cause->irq, core->frames.id);
}

/*
 * The list only grows while a handler runs: net_rx_action() takes from it on this CPU, and that
 * does not run inside a hardirq.
 */
void agent_napi_source_end(struct agent_core *core)
{
	const struct list_head *list = poll_list(), *entry = core->poll_list_end;
	struct at_cause cause;

	if (!entry || entry == list->prev || !core->frames.depth)
		return;
	cause = at_cause_now(&core->frames);
	for (entry = entry->next; entry != list; entry = entry->next)
		note(core, entry, &cause);
}

/*
 * The thread of an interrupt, on PREEMPT_RT of nearly each one, schedules its NAPI with bottom
 * halves off, so net_rx_action() does not run on this CPU: ____napi_schedule() raises after it has
 * put the NAPI at the list's end.
 */
void agent_napi_source_raised(struct agent_core *core)
{
	const struct at_cpu *frames = &core->frames;
	const struct list_head *list = poll_list();

	if (frames->depth || frames->softirq.vector || list_empty(list) ||
	    !(frames->task.cause.flags & AT_CAUSE_IRQ))
		return;
	note(core, list->prev, &frames->task.cause);
}

/* A NAPI that is polled again without an interrupt keeps its name, not its times. */
void agent_napi_source_serve(struct agent_core *core, const struct napi_struct *napi)
{
	struct agent_napi_source *source = source_of(core, napi);
	struct at_softirq_frame *softirq = &core->frames.softirq;

	if (source->napi != napi || !softirq->vector || core->frames.depth)
		return;
	core->served = softirq->cause;
	core->serving = true;
	at_softirq_serve(&core->frames, &source->cause);
	source->cause.irq_ns = 0;
	source->cause.thread_ns = 0;
}

/*
 * A poll begins and ends in one run of the softirq. On PREEMPT_RT its task may be preempted between
 * and its frame is parked, but no other task on this CPU can begin a softirq meanwhile: the first
 * holds softirq_ctrl.lock (kernel/softirq.c, v6.12), and local_bh_disable() keeps it on the CPU.
 */
void agent_napi_source_served(struct agent_core *core)
{
	if (core->serving && core->frames.softirq.vector)
		core->frames.softirq.cause = core->served;
	core->serving = false;
}
