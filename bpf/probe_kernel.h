/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's constants that only probes need. */
#ifndef AGENTTUNE_PROBE_KERNEL_H
#define AGENTTUNE_PROBE_KERNEL_H

#include "front.h"

#define AT_PF_WQ_WORKER 0x00000020 /* include/linux/sched.h, v6.1 to v6.18 */
#define AT_TASK_BLOCKED 0x00000003 /* TASK_INTERRUPTIBLE and TASK_UNINTERRUPTIBLE, the same */
#define AT_TS_COMPAT 0x0002 /* arch/x86/include/asm/thread_info.h, v6.1 to v6.18 */
#define AT_REQ_OP_MASK 0xff /* include/linux/blk_types.h, v6.1 to v6.18 */
#define AT_REQ_OP_READ 0
#define AT_REQ_OP_WRITE 1
#define AT_VM_FAULT_MAJOR 0x4 /* include/linux/mm_types.h, v6.1 to v6.18 */
#define AT_VM_FAULT_RETRY 0x400
#define AT_IRQ_NONE 0 /* include/linux/irqreturn.h */

#endif
