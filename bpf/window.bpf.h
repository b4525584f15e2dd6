/* SPDX-License-Identifier: GPL-2.0-only */
/* What every object has: who the agents are, and whether the window is open. */
#ifndef AGENTTUNE_WINDOW_BPF_H
#define AGENTTUNE_WINDOW_BPF_H

#include "front.h"
#include "layout.h"

AT_PARAMS(struct at_params)

/* User space opens and closes the window with one write, after every program is attached. */
AT_WINDOW()

/* cgroup id → whether it lies below a selected one. Neither ids nor ancestors ever change. */
AT_HASH(cgroups, __u64, __u32);

#endif
