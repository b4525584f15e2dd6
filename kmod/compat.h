/* SPDX-License-Identifier: GPL-2.0-only */
/* Every difference between the kernels that the module builds on, v6.1 and later. */
#ifndef AGENT_COMPAT_H
#define AGENT_COMPAT_H

#include <asm/processor.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sysctl.h>
#include <linux/version.h>

/* v6.3, bc292ab00f6c: vm_flags is written through functions that assert the mmap lock. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_mod(struct vm_area_struct *vma, vm_flags_t set, vm_flags_t clear)
{
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
}
#endif

/*
 * v6.6, 9edbfe92a0a1: tables are registered with their size, and v6.11, acc154691fc7, takes the
 * empty element that ended them before for an error. (Declaring a table: AGENT_SYSCTL_END last.)
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
#define AGENT_SYSCTL_END { }
#else
#define AGENT_SYSCTL_END
#endif

/* v6.11, 78eb4ea25cd5: handlers take a const table. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
#define AGENT_CTL_TABLE struct ctl_table
#else
#define AGENT_CTL_TABLE const struct ctl_table
#endif

/* v6.12, 152e11f6df29: a sleeper may stay on its run queue until it is picked. */
static inline bool agent_sched_delayed(const struct task_struct *task)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
	return false;
#else
	return task->se.sched_delayed;
#endif
}

/*
 * v6.7, 6e29032340b6: the id of a CPU's last-level cache moved into cpu_info, which modules may
 * read; get_llc_id(), which was exported, went.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
#define agent_llc_id(cpu) get_llc_id(cpu)
#else
#define agent_llc_id(cpu) per_cpu_llc_id(cpu)
#endif

#endif
