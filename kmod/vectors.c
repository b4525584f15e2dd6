// SPDX-License-Identifier: GPL-2.0-only
/* Device interrupts that may be moved: what each is, where it is, and what was written to it. */
#include <linux/interrupt.h>
#include <linux/msi.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/xarray.h>

#include "cpus.h"
#include "vectors.h"

struct vector_totals agent_vector_totals;

/* By interrupt number. */
static DEFINE_XARRAY(vectors);

/* An interrupt as it is at one moment. */
struct look {
	const struct irq_data *data;
	struct irq_domain *domain;
	irq_hw_number_t hwirq;
	char action[VECTOR_ACTION];
	int node;
	unsigned int count;
	bool managed;
	bool movable;
	bool waiting; /* `mask` waits for an interrupt */
	struct cpumask mask; /* as /proc/irq/N/smp_affinity tells it: the waiting one first */
	struct cpumask effective;
};

/* Too large for the stack; guarded as the records are. */
static struct look now;

static void copy_masks(struct irq_desc *desc, struct irq_data *data)
{
	const struct cpumask *mask = irq_data_get_affinity_mask(data);

	now.waiting = irqd_is_setaffinity_pending(data);
#ifdef CONFIG_GENERIC_PENDING_IRQ
	if (now.waiting)
		mask = desc->pending_mask;
#endif
	cpumask_copy(&now.mask, mask);
	cpumask_copy(&now.effective, irq_data_get_effective_affinity_mask(data));
}

/*
 * Fills `now`; false when `irq` is no MSI interrupt. Inside an RCU read side. An action is unlinked
 * under desc->lock before it is freed (__free_irq), so its name can be read under that lock. The
 * MSI descriptor is not looked into.
 */
static bool look_at(unsigned int irq)
{
	struct irq_data *data = irq_get_irq_data(irq);
	struct irq_desc *desc;
	unsigned long flags;
	bool msi;

	if (!data)
		return false;
	desc = irq_data_to_desc(data);
	raw_spin_lock_irqsave(&desc->lock, flags);
	msi = irq_data_get_msi_desc(data) && data->domain;
	if (msi) {
		now.data = data;
		now.domain = data->domain;
		now.hwirq = data->hwirq;
		now.node = irq_data_get_node(data);
		now.count = READ_ONCE(desc->tot_count);
		now.managed = irqd_affinity_is_managed(data);
		now.movable = !now.managed && !irqd_is_per_cpu(data) && data->chip &&
			      data->chip->irq_set_affinity;
		strscpy(now.action, desc->action && desc->action->name ? desc->action->name : "",
			sizeof(now.action));
		copy_masks(desc, data);
	}
	raw_spin_unlock_irqrestore(&desc->lock, flags);
	/* It looks the descriptor up again: the same one, or one that is found out later. */
	if (msi && irq_balancing_disabled(irq))
		now.movable = false;
	return msi;
}

/*
 * Whether `now` is the interrupt of the record. Domain and hwirq name the device and its MSI-X
 * entry: before v6.2 (per-device domains) hwirq holds the PCI address, since then the domain is the
 * device's. A domain's address may come back for another device, and so may the number; then the
 * action differs, or the count, which never falls, begins again at 0. A driver that gave its
 * interrupt back without freeing it has no action meanwhile, and may take it again.
 */
static bool is_same(const struct vector *vector)
{
	return now.domain == vector->domain && now.hwirq == vector->hwirq &&
	       (int)(now.count - vector->count) >= 0 &&
	       (!now.action[0] || !vector->action[0] || !strcmp(now.action, vector->action));
}

static bool mask_is_ours(const struct vector *vector)
{
	return cpumask_equal(&now.mask, cpumask_of(vector->target));
}

static void free_vector(struct vector *vector)
{
	free_cpumask_var(vector->before);
	free_cpumask_var(vector->may);
	kfree(vector);
}

static struct vector *make_vector(unsigned int irq)
{
	struct vector *vector = kzalloc(sizeof(*vector), GFP_KERNEL);

	if (!vector)
		return NULL;
	vector->irq = irq;
	vector->bond = AGENT_NO_CPU;
	vector->last_bond = AGENT_NO_CPU;
	if (zalloc_cpumask_var(&vector->before, GFP_KERNEL) &&
	    zalloc_cpumask_var(&vector->may, GFP_KERNEL) &&
	    !xa_is_err(xa_store(&vectors, irq, vector, GFP_KERNEL)))
		return vector;
	free_vector(vector);
	return NULL;
}

static void drop(struct vector *vector)
{
	if (agent_vector_is_ours(vector))
		agent_vector_totals.gone++;
	xa_erase(&vectors, vector->irq);
	free_vector(vector);
}

static void update(struct vector *vector)
{
	unsigned int where = cpumask_first(&now.effective);

	vector->domain = now.domain;
	vector->hwirq = now.hwirq;
	vector->node = now.node;
	vector->count = now.count;
	if (now.action[0])
		strscpy(vector->action, now.action, sizeof(vector->action));
	vector->where = where < nr_cpu_ids && now.action[0] ? where : AGENT_NO_CPU;
	vector->leaving = now.waiting && !cpumask_intersects(&now.mask, &now.effective);
	vector->seen = true;
}

static void set_state(struct vector *vector, enum vector_state state)
{
	if (state == VECTOR_FOREIGN)
		agent_vector_totals.foreign++;
	if (state == VECTOR_REFUSED)
		agent_vector_totals.refused++;
	vector->state = state;
}

/*
 * What became of what was written; the mask itself proves nothing. The first interrupt after the
 * write still goes to the old CPU and moves the vector (irq_move_masked_irq); from the second on
 * the new mask must be in effect, or still be waiting, because the vector before the last is not
 * cleaned up yet. A chip that refuses (no vector free) drops the waiting mask: what was before is
 * then in /proc again, without any writer.
 */
static void judge(struct vector *vector)
{
	bool came = now.count - vector->written_count >= 2;

	if (!agent_vector_is_ours(vector) || vector->state == VECTOR_REFUSED)
		return;
	if (mask_is_ours(vector) && cpumask_subset(&now.effective, cpumask_of(vector->target)))
		set_state(vector, VECTOR_OURS);
	else if (mask_is_ours(vector))
		set_state(vector, came && !now.waiting ? VECTOR_REFUSED : VECTOR_PENDING);
	else if (vector->state == VECTOR_PENDING && !now.waiting &&
		 now.count != vector->written_count && cpumask_equal(&now.mask, vector->before))
		set_state(vector, VECTOR_REFUSED);
	else
		set_state(vector, VECTOR_FOREIGN);
}

static void scan_one(unsigned int irq)
{
	struct vector *vector = xa_load(&vectors, irq);
	bool found;

	rcu_read_lock();
	found = look_at(irq);
	rcu_read_unlock();
	if (vector && !(found && is_same(vector))) {
		drop(vector);
		vector = NULL;
	}
	if (!found)
		return;
	if (!vector && now.movable && now.action[0])
		vector = make_vector(irq);
	if (!vector)
		return;
	update(vector);
	judge(vector);
}

static void unsee(struct vector *vector, void *data)
{
	vector->seen = false;
}

static void drop_unseen(struct vector *vector, void *data)
{
	if (!vector->seen)
		drop(vector);
}

void agent_vectors_scan(void)
{
	unsigned int irq;

	agent_vectors_each(unsee, NULL);
	for_each_irq_nr(irq) {
		scan_one(irq);
		cond_resched();
	}
	agent_vectors_each(drop_unseen, NULL);
}

struct vector *agent_vectors_find(unsigned int irq)
{
	return xa_load(&vectors, irq);
}

void agent_vectors_each(void (*visit)(struct vector *vector, void *data), void *data)
{
	struct vector *vector;
	unsigned long irq;

	xa_for_each(&vectors, irq, vector)
		visit(vector, data);
}

/* Inside an RCU read side, right after look_at(). */
static int write_mask(struct vector *vector, const struct cpumask *mask)
{
	int err = irq_set_affinity(vector->irq, mask);

	if (irq_get_irq_data(vector->irq) != now.data)
		agent_vector_totals.swapped++;
	vector->error = err;
	if (err)
		agent_vector_totals.failed++;
	return err;
}

int agent_vector_move(struct vector *vector, unsigned int cpu)
{
	int err = -ENOENT;

	rcu_read_lock();
	if (look_at(vector->irq) && is_same(vector) && now.movable) {
		/* A write since the last look is the other's; it is counted at the next. */
		if (agent_vector_is_ours(vector) && !mask_is_ours(vector)) {
			rcu_read_unlock();
			return -EBUSY;
		}
		if (!agent_vector_is_ours(vector))
			cpumask_copy(vector->before, &now.mask);
		err = write_mask(vector, cpumask_of(cpu));
	}
	rcu_read_unlock();
	if (err)
		return err;
	vector->state = VECTOR_PENDING;
	vector->target = cpu;
	vector->written_count = now.count;
	vector->moves++;
	agent_vector_totals.moves++;
	return 0;
}

void agent_vector_restore(struct vector *vector)
{
	int err = 0;

	if (!agent_vector_is_ours(vector))
		return;
	rcu_read_lock();
	if (!look_at(vector->irq) || !is_same(vector)) {
		agent_vector_totals.gone++;
		set_state(vector, VECTOR_UNTOUCHED);
	} else if (mask_is_ours(vector)) {
		err = write_mask(vector, vector->before);
		if (!err) {
			set_state(vector, VECTOR_RESTORED);
			agent_vector_totals.restored++;
		}
	} else if (vector->state == VECTOR_REFUSED) {
		set_state(vector, VECTOR_RESTORED);
	} else {
		set_state(vector, VECTOR_FOREIGN);
	}
	rcu_read_unlock();
	if (err)
		pr_warn("interrupt %u (%s) stays on CPU %u: error %d\n", vector->irq,
			vector->action, vector->target, err);
}

static void forget(struct vector *vector, void *data)
{
	const bool *ours = data;

	if (agent_vector_is_ours(vector) && !*ours)
		return;
	xa_erase(&vectors, vector->irq);
	free_vector(vector);
}

void agent_vectors_forget(bool ours)
{
	agent_vectors_each(forget, &ours);
}

static const char *state_name(const struct vector *vector)
{
	static const char *const names[] = {
		[VECTOR_UNTOUCHED] = "untouched", [VECTOR_PENDING] = "pending",
		[VECTOR_OURS] = "ours", [VECTOR_REFUSED] = "refused",
		[VECTOR_FOREIGN] = "foreign", [VECTOR_RESTORED] = "restored",
	};

	if (now.managed)
		return "managed";
	if (!vector)
		return now.movable ? "unseen" : "fixed";
	return names[vector->state];
}

static void show_one(struct seq_file *file, unsigned int irq)
{
	struct vector *vector = xa_load(&vectors, irq);

	if (vector && !is_same(vector))
		vector = NULL;
	seq_printf(file, "irq=%u state=%s mask=%*pbl effective=%*pbl moves=%llu", irq,
		   state_name(vector), cpumask_pr_args(&now.mask), cpumask_pr_args(&now.effective),
		   vector ? vector->moves : 0);
	if (vector && vector->moves)
		seq_printf(file, " before=%*pbl wrote=%u", cpumask_pr_args(vector->before),
			   vector->target);
	if (vector && vector->error)
		seq_printf(file, " error=%d", vector->error);
	if (vector && vector->bond != AGENT_NO_CPU)
		seq_printf(file, " agent_cpu=%u", vector->bond);
	seq_printf(file, " action=%s\n", now.action);
}

void agent_vectors_show(struct seq_file *file)
{
	const struct vector_totals *totals = &agent_vector_totals;
	unsigned int irq;
	bool found;

	seq_printf(file, "moves=%llu restored=%llu foreign=%llu refused=%llu failed=%llu ",
		   totals->moves, totals->restored, totals->foreign, totals->refused,
		   totals->failed);
	seq_printf(file, "gone=%llu swapped=%llu\n", totals->gone, totals->swapped);
	for_each_irq_nr(irq) {
		rcu_read_lock();
		found = look_at(irq);
		rcu_read_unlock();
		if (found && now.action[0])
			show_one(file, irq);
		cond_resched();
	}
}
