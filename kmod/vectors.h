/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Device interrupts that may be moved: what each is, where it is, and what was written to it.
 *
 * Movable is an MSI or MSI-X interrupt that the kernel neither manages nor keeps per CPU, of a chip
 * that can set an affinity. Timers, IPIs, interrupts of the I/O APIC and of the IOMMU itself are no
 * concern of this module.
 *
 * Locking: all functions here are called with agent_placement_lock held (placement.c), which guards
 * every record. An interrupt itself is read under desc->lock, raw, with interrupts off.
 *
 * Lifetime of an interrupt: with SPARSE_IRQ a descriptor is freed after an RCU grace period, so it
 * is looked up and used inside one RCU read side. Its number may be given to another device later;
 * so a record holds what names the interrupt (see vectors.c), and nothing is written to a number
 * whose descriptor does not match. The window that is left lies between that comparison and
 * irq_set_affinity()'s own look-up; both are in one RCU read side, in which a descriptor's memory
 * is not used again, so a swap is noticed (`swapped`) though not prevented. What is written then is
 * a mask of one online CPU.
 */
#ifndef AGENT_VECTORS_H
#define AGENT_VECTORS_H

#include <linux/cpumask.h>
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <linux/seq_file.h>
#include <linux/types.h>

#define VECTOR_ACTION 32

enum vector_state {
	VECTOR_UNTOUCHED,
	VECTOR_PENDING, /* written; takes effect with an interrupt that did not come yet */
	VECTOR_OURS, /* written, and in effect */
	VECTOR_REFUSED, /* written and accepted; interrupts came, and it did not take effect */
	VECTOR_FOREIGN, /* somebody wrote another mask over ours: left alone */
	VECTOR_RESTORED, /* was ours, and has the mask again that it had before */
};

struct vector {
	unsigned int irq;
	struct irq_domain *domain; /* compared only, never used: it may be gone */
	irq_hw_number_t hwirq;
	char action[VECTOR_ACTION]; /* the driver's name for it, or "" while it is not requested */
	int node;
	unsigned int count; /* interrupts, when it was looked at last */
	unsigned int where; /* the CPU that takes it, or AGENT_NO_CPU */
	bool leaving; /* its mask is without that CPU: its next interrupt takes it elsewhere */
	bool seen;

	enum vector_state state;
	unsigned int target; /* the only CPU in the mask that was written */
	unsigned int written_count; /* `count` when it was written */
	u64 moves;
	int error; /* what irq_set_affinity() gave last */
	cpumask_var_t before; /* the mask that was found, while ours is written */

	/* placement.c's */
	unsigned int bond, last_bond; /* CPU of the agent that it completes for, or AGENT_NO_CPU */
	cpumask_var_t may; /* where that agent may run */
	unsigned int cause; /* the agent CPU for whose sake it should be elsewhere */
	unsigned int unfit; /* windows running that it should */
	unsigned int unbonded; /* windows running that it completed for no agent */
	unsigned int rest; /* windows until it may be moved again */
};

/* Since the module was loaded. */
struct vector_totals {
	u64 moves, restored, foreign, refused, failed, gone, swapped;
};

extern struct vector_totals agent_vector_totals;

/*
 * Looks at every interrupt of the machine: makes a record of each movable one that is new, drops
 * those that are gone, and judges by the effective mask what became of what was written. May sleep.
 */
void agent_vectors_scan(void);

/* Its record, or NULL. Any context that holds the lock. */
struct vector *agent_vectors_find(unsigned int irq);

/* Calls `visit` for each record. */
void agent_vectors_each(void (*visit)(struct vector *vector, void *data), void *data);

/* Whether our mask is written to it, in effect or not. */
static inline bool agent_vector_is_ours(const struct vector *vector)
{
	return vector->state == VECTOR_PENDING || vector->state == VECTOR_OURS ||
	       vector->state == VECTOR_REFUSED;
}

/* Writes the mask {cpu}. 0 says that the kernel took it, not that it will follow. */
int agent_vector_move(struct vector *vector, unsigned int cpu);

/* Writes the mask from before our first write, if the mask is still ours. */
void agent_vector_restore(struct vector *vector);

/* Drops the records, and with `ours` also those whose mask could not be restored. */
void agent_vectors_forget(bool ours);

/* A line for each MSI interrupt that is in use. */
void agent_vectors_show(struct seq_file *file);

#endif
