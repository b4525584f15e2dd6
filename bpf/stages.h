/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pure core: interrupts, wakings, switches and marks in; buckets and chains out.
 *
 * No maps, no helpers, no kernel types, so that both BPF front-ends, the kernel module and a
 * userspace build for tests compile the same files. Include a header that defines __u16, __u32
 * and __u64 first.
 *
 * Three nouns, from the bottom up:
 *   frames.h  what runs on one CPU now, and why (struct at_cpu, struct at_cause)
 *   wait.h    one interval off the CPU, with its chain and who held the CPU (struct at_wait)
 *   thread.h  where a thread's nanoseconds went, and its steps (struct at_thread, struct at_step)
 */
#ifndef AGENTTUNE_STAGES_H
#define AGENTTUNE_STAGES_H

#include "cause.h"
#include "frames.h"
#include "history.h"
#include "wait.h"
#include "thread.h"
#include "step.h"

#endif
