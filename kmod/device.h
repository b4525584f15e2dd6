/* SPDX-License-Identifier: GPL-2.0-only */
/* /dev/agent_latency: files with a page of slots each; the protocol is in uapi/agent_latency.h. */
#ifndef AGENT_DEVICE_H
#define AGENT_DEVICE_H

struct agent_file;
struct agent_latency_slot;

/* An agent holds its file: the page is read until the agent is freed. */
void agent_file_get(struct agent_file *file);
/* Any context. */
void agent_file_put(struct agent_file *file);
void agent_file_free_slot(struct agent_file *file, const struct agent_latency_slot *slot);

int agent_device_init(void);
void agent_device_exit(void);

#endif
