/* SPDX-License-Identifier: GPL-2.0-only */
/* The folder /sys/kernel/debug/agent_latency; an error pointer where there is no debugfs. */
#ifndef AGENT_DEBUGFS_H
#define AGENT_DEBUGFS_H

struct dentry;

/* Made before every part's init; it and its files are gone before any exit. Files: 0400 or 0600. */
extern struct dentry *agent_debugfs;

#endif
