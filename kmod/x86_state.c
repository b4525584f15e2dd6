// SPDX-License-Identifier: GPL-2.0-only
/* debugfs agent_latency/x86; the format is in x86_state.h. */
#include <linux/capability.h>
#include <linux/cpu.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdesc.h>
#include <linux/irqdomain.h>
#include <linux/mutex.h>
#include <linux/security.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/sort.h>
#include <linux/string.h>

#include <asm/apic.h>
#include <asm/desc.h>
#include <asm/irqdomain.h>
#include <asm/msr.h>
#include <asm/processor.h>

#include "compat.h"
#include "debugfs.h"
#include "x86_state.h"

#define FORMAT_VERSION 1
#define NAMES_MOST 64
#define VECTOR_WORDS (NR_VECTORS / 32)
/* Gates of the TSS that switch stacks: IST1 to IST7. */
#define ISTS 7

/* A vector of a CPU that a requested interrupt has. */
struct vector {
	unsigned int cpu;
	unsigned int vector;
	unsigned int irq;
	char names[NAMES_MOST];
};

struct vectors {
	unsigned int count;
	unsigned int room;
	struct vector *of;
};

/* What one CPU says of itself. */
struct state {
	bool fred;
	struct desc_ptr idtr;
	u64 rsp0;
	u64 ist[ISTS];
	u64 apic_base;
	u32 id;
	u32 tpr;
	u32 ppr;
	u32 spiv;
	u32 irr[VECTOR_WORDS];
	u32 isr[VECTOR_WORDS];
};

/* One reader at a time: two would meet in pick()'s trylock and take it for a request or a free. */
static DEFINE_MUTEX(reading);

/* kptr_restrict is not exported; %pK makes zeros of any address that it hides. */
static bool kptr_restricted(void)
{
	char text[2 * sizeof(void *) + 1];

	scnprintf(text, sizeof(text), "%pK", &reading);
	return strspn(text, "0") == strlen(text);
}

static const char *why_withheld(const struct file *file)
{
	if (security_locked_down(LOCKDOWN_KCORE))
		return "lockdown";
	if (kptr_restricted())
		return "kptr_restrict";
	if (!file_ns_capable(file, &init_user_ns, CAP_SYSLOG))
		return "capability";
	return NULL;
}

static void join_names(char *names, const struct irqaction *action)
{
	size_t length = 0;

	for (; action; action = action->next)
		length += scnprintf(names + length, NAMES_MOST - length, "%s%s",
				    length ? "," : "", action->name ?: "");
}

/*
 * With the interrupt's request_mutex and the descriptor's lock held. A vector changes only under
 * the latter (irq_do_set_affinity(), irq_activate()), and the effective mask with it
 * (apic_update_irq_cfg()). What is reserved but not in use is MANAGED_IRQ_SHUTDOWN_VECTOR.
 */
static bool pick_locked(struct vector *vector, const struct irq_desc *desc, unsigned int irq)
{
	struct irq_data *data = irq_domain_get_irq_data(x86_vector_domain, irq);
	const struct irq_cfg *cfg = data ? irqd_cfg(data) : NULL;

	if (!cfg || !irqd_is_activated(data) || cfg->vector < FIRST_EXTERNAL_VECTOR ||
	    cfg->vector == MANAGED_IRQ_SHUTDOWN_VECTOR)
		return false;
	vector->irq = irq;
	vector->vector = cfg->vector;
	vector->cpu = cpumask_first(irq_data_get_effective_affinity_mask(data));
	join_names(vector->names, desc->action);
	return vector->cpu < nr_cpu_ids;
}

/*
 * An interrupt's irq_data of the parent domains are freed at once, without a grace period. Not so
 * while a driver has it requested: it must call free_irq() first, which takes request_mutex. The
 * descriptor itself, and with it the mutex, stays for a grace period (delayed_free_desc()); hence
 * the RCU read side up to the unlock, and a trylock, for one may not sleep in there.
 */
static bool pick(struct vector *vector, unsigned int irq)
{
	struct irq_data *data;
	struct irq_desc *desc;
	unsigned long flags;
	bool picked = false;

	rcu_read_lock();
	data = irq_get_irq_data(irq);
	desc = data ? irq_data_to_desc(data) : NULL;
	if (desc && mutex_trylock(&desc->request_mutex)) {
		if (desc->action) {
			raw_spin_lock_irqsave(&desc->lock, flags);
			picked = pick_locked(vector, desc, irq);
			raw_spin_unlock_irqrestore(&desc->lock, flags);
		}
		mutex_unlock(&desc->request_mutex);
	}
	rcu_read_unlock();
	return picked;
}

static int by_cpu_and_vector(const void *left, const void *right)
{
	const struct vector *a = left, *b = right;

	if (a->cpu != b->cpu)
		return a->cpu < b->cpu ? -1 : 1;
	return (int)a->vector - (int)b->vector;
}

static int collect_vectors(struct vectors *vectors)
{
	unsigned int irq;

	vectors->count = 0;
	vectors->room = nr_irqs;
	vectors->of = kvcalloc(vectors->room, sizeof(*vectors->of), GFP_KERNEL);
	if (!vectors->of)
		return -ENOMEM;
	for (irq = 0; irq < vectors->room; irq++) {
		vectors->count += pick(&vectors->of[vectors->count], irq);
		cond_resched();
	}
	sort(vectors->of, vectors->count, sizeof(*vectors->of), by_cpu_and_vector, NULL);
	return 0;
}

static void read_vectors(u32 *words, u32 first)
{
	unsigned int i;

	/* 32 vectors a register, registers 16 bytes apart (both modes; x2APIC by MSR). */
	for (i = 0; i < VECTOR_WORDS; i++)
		words[i] = apic->read(first + i * 0x10);
}

static bool has_apic(const struct state *state)
{
	return state->apic_base & MSR_IA32_APICBASE_ENABLE;
}

/* On the CPU itself, in an IPI's handler: interrupts are off. */
static void ask(void *data)
{
	struct state *state = data;
	u32 low = 0, high = 0;
	unsigned int i;

#ifdef X86_CR4_FRED
	state->fred = __read_cr4() & X86_CR4_FRED;
#endif
	store_idt(&state->idtr);
	state->rsp0 = this_cpu_read(cpu_tss_rw.x86_tss.sp0);
	for (i = 0; i < ISTS; i++)
		state->ist[i] = this_cpu_read(cpu_tss_rw.x86_tss.ist[i]);
	if (!boot_cpu_has(X86_FEATURE_APIC) || rdmsr_safe(MSR_IA32_APICBASE, &low, &high))
		return;
	state->apic_base = (u64)high << 32 | low;
	if (!has_apic(state))
		return;
	state->id = apic->get_apic_id(apic->read(APIC_ID));
	state->tpr = apic->read(APIC_TASKPRI) & APIC_TPRI_MASK;
	state->ppr = apic->read(APIC_PROCPRI) & 0xff;
	state->spiv = apic->read(APIC_SPIV);
	read_vectors(state->irr, APIC_IRR);
	read_vectors(state->isr, APIC_ISR);
}

/* The rows of /proc/interrupts that count what has a vector and no interrupt number. */
static const char *arch_name(unsigned int vector)
{
	switch (vector) {
	case LOCAL_TIMER_VECTOR:
		return "LOC";
	case SPURIOUS_APIC_VECTOR:
		return "SPU";
	case RESCHEDULE_VECTOR:
		return "RES";
	case CALL_FUNCTION_VECTOR:
	case CALL_FUNCTION_SINGLE_VECTOR:
		return "CAL";
	case IRQ_WORK_VECTOR:
		return "IWI";
	case ERROR_APIC_VECTOR:
		return "ERR";
	case THERMAL_APIC_VECTOR:
		return "TRM";
	case THRESHOLD_APIC_VECTOR:
		return "THR";
	case DEFERRED_ERROR_VECTOR:
		return "DFR";
	case HYPERVISOR_CALLBACK_VECTOR:
		return "HYP";
#if IS_ENABLED(CONFIG_HYPERV)
	case HYPERV_REENLIGHTENMENT_VECTOR:
		return "HRE";
	case HYPERV_STIMER0_VECTOR:
		return "HVS";
#endif
	case POSTED_INTR_VECTOR:
		return "PIN";
	case POSTED_INTR_WAKEUP_VECTOR:
		return "PIW";
	case POSTED_INTR_NESTED_VECTOR:
		return "NPI";
	case X86_PLATFORM_IPI_VECTOR:
		return "PLT";
	default:
		return NULL;
	}
}

static void show_interrupt(struct seq_file *m, const struct vector *vector)
{
	seq_printf(m, " irq %u ", vector->irq);
	seq_escape(m, vector->names, "\n\r\t\\");
}

static const struct vector *find(const struct vectors *vectors, unsigned int cpu,
				 unsigned int vector)
{
	unsigned int i;

	for (i = 0; i < vectors->count; i++)
		if (vectors->of[i].cpu == cpu && vectors->of[i].vector == vector)
			return &vectors->of[i];
	return NULL;
}

static void show_set(struct seq_file *m, unsigned int cpu, const char *what, const u32 *words,
		     const struct vectors *vectors)
{
	unsigned int vector;

	for (vector = 0; vector < NR_VECTORS; vector++) {
		const struct vector *known;
		const char *name;

		if (!(words[vector / 32] & 1U << vector % 32))
			continue;
		seq_printf(m, "cpu %u %s 0x%02x", cpu, what, vector);
		known = find(vectors, cpu, vector);
		name = arch_name(vector);
		if (known)
			show_interrupt(m, known);
		else if (name)
			seq_printf(m, " %s", name);
		seq_putc(m, '\n');
	}
}

static void show_addresses(struct seq_file *m, unsigned int cpu, const struct state *state,
			   bool withheld)
{
	unsigned int i;

	seq_printf(m, "cpu %u entry %s\n", cpu, state->fred ? "fred" : "idt");
	if (withheld) {
		seq_printf(m, "cpu %u idtr base=withheld limit=0x%x\n", cpu, state->idtr.size);
		seq_printf(m, "cpu %u stack withheld\n", cpu);
		return;
	}
	seq_printf(m, "cpu %u idtr base=0x%lx limit=0x%x\n", cpu, state->idtr.address,
		   state->idtr.size);
	seq_printf(m, "cpu %u stack rsp0=0x%llx", cpu, state->rsp0);
	for (i = 0; i < ISTS; i++)
		seq_printf(m, " ist%u=0x%llx", i + 1, state->ist[i]);
	seq_putc(m, '\n');
}

static void show_apic(struct seq_file *m, unsigned int cpu, const struct state *state,
		      const struct vectors *vectors)
{
	unsigned int i;

	if (!state->apic_base) {
		seq_printf(m, "cpu %u apic mode=none\n", cpu);
		return;
	}
	if (!has_apic(state)) {
		seq_printf(m, "cpu %u apic mode=off\n", cpu);
		return;
	}
	seq_printf(m, "cpu %u apic mode=%s id=0x%x enabled=%u tpr=0x%x ppr=0x%x eoi_broadcast=%u\n",
		   cpu, state->apic_base & X2APIC_ENABLE ? "x2apic" : "xapic", state->id,
		   !!(state->spiv & APIC_SPIV_APIC_ENABLED), state->tpr, state->ppr,
		   !(state->spiv & APIC_SPIV_DIRECTED_EOI));
	for (i = 0; i < vectors->count; i++) {
		if (vectors->of[i].cpu != cpu)
			continue;
		seq_printf(m, "cpu %u vector 0x%02x", cpu, vectors->of[i].vector);
		show_interrupt(m, &vectors->of[i]);
		seq_putc(m, '\n');
	}
	show_set(m, cpu, "irr", state->irr, vectors);
	show_set(m, cpu, "isr", state->isr, vectors);
}

static void show_cpus(struct seq_file *m, const struct vectors *vectors, bool withheld)
{
	unsigned int cpu;

	cpus_read_lock();
	for_each_online_cpu(cpu) {
		struct state state = { };

		if (smp_call_function_single(cpu, ask, &state, 1))
			continue;
		show_addresses(m, cpu, &state, withheld);
		show_apic(m, cpu, &state, vectors);
		cond_resched();
	}
	cpus_read_unlock();
}

static int x86_show(struct seq_file *m, void *unused)
{
	const char *withheld = why_withheld(m->file);
	struct vectors vectors;
	int err;

	mutex_lock(&reading);
	err = collect_vectors(&vectors);
	mutex_unlock(&reading);
	if (err)
		return err;
	seq_printf(m, "agent_latency x86 %d\naddresses %s%s\n", FORMAT_VERSION,
		   withheld ? "withheld " : "shown", withheld ?: "");
	show_cpus(m, &vectors, withheld);
	kvfree(vectors.of);
	return 0;
}

DEFINE_SHOW_ATTRIBUTE(x86);

/* The file goes with its folder, which waits for readers. */
int agent_x86_state_init(void)
{
	debugfs_create_file("x86", 0400, agent_debugfs, NULL, &x86_fops);
	return 0;
}
