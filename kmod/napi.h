/* SPDX-License-Identifier: GPL-2.0-only */
/* The one hook on __napi_poll(), for attribution and guardrail. */
#ifndef AGENT_NAPI_H
#define AGENT_NAPI_H

#include <linux/types.h>

/* Whether this kernel let the hook be set; that does not change while the module is loaded. */
bool agent_napi_hooked(void);

/* Polls it did not see: another kprobe's handler was running, or no instance was free. */
unsigned long agent_napi_missed(void);

int agent_napi_init(void);
void agent_napi_exit(void);

#endif
