/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which interrupt's work a NET_RX softirq does now.
 *
 * One NET_RX softirq serves every NAPI on the CPU's poll list, whoever scheduled it: a receive
 * queue's completions would be blamed on the transmit queue that interrupted first. So each
 * interrupt's entry and exit look at what its handler put on the list, each raise in an interrupt's
 * thread at what that put there, and each poll takes over the name of the interrupt of its NAPI.
 */
#ifndef AGENT_NAPI_SOURCE_H
#define AGENT_NAPI_SOURCE_H

#include "core.h"

struct napi_struct;

/* From irq_handler_entry and irq_handler_exit: interrupts are off. */
void agent_napi_source_begin(struct agent_core *core);
void agent_napi_source_end(struct agent_core *core);

/* NET_RX is raised, from softirq_raise: interrupts are off. */
void agent_napi_source_raised(struct agent_core *core);

/* The interrupt and CPU of the NAPI with this id (sk_napi_id), as of its last interrupt. */
bool agent_napi_source_of(unsigned int napi_id, u32 *irq, u32 *cpu);

/* Around a poll, in softirq context. */
void agent_napi_source_serve(struct agent_core *core, const struct napi_struct *napi);
void agent_napi_source_served(struct agent_core *core);

#endif
