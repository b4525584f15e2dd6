/* SPDX-License-Identifier: GPL-2.0-only */
/* What the front-ends send to user space: a step that ended, then the waits kept of it. */
#ifndef AGENTTUNE_RECORDS_H
#define AGENTTUNE_RECORDS_H

#include "stages.h"

enum at_sample_type { AT_STEP_SAMPLE = 1, AT_WAIT_SAMPLE = 2 };

struct at_step_sample {
	__u32 type;
	__u32 size;
	struct at_step_record step;
};

/* Follows its step's sample at once; `begin_ns` tells two steps of one id apart. */
struct at_wait_sample {
	__u32 type;
	__u32 size;
	__u64 step_id;
	__u64 begin_ns;
	__u32 tid;
	__u32 pad;
	struct at_wait wait;
};

#endif
