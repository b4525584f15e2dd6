/* SPDX-License-Identifier: GPL-2.0-only */
/* Marks: where steps begin and end, and which sockets are theirs. See include/agenttune.h. */
#ifndef AGENTTUNE_MARK_BPF_H
#define AGENTTUNE_MARK_BPF_H

#include "core.bpf.h"
#include "thread.bpf.h"

#define AT_MARK 0x41475354 /* "AGST", prctl()'s option */
#define AT_MARK_KIND 0xff

enum { AT_MARK_BEGIN = 1, AT_MARK_END, AT_MARK_BIND, AT_MARK_UNBIND };

/* The caller's own words, in prctl()'s order. */
struct at_mark {
	__u64 word;
	__u64 step_id;
	__u64 third; /* deadline_ns, or a socket's cookie */
	__u64 budget; /* us in the lower half, the lane in the upper */
};

static __always_inline void begin_step(struct at_core *core, const struct at_mark *mark)
{
	struct task_struct *task = at_current();
	struct at_thread *thread = new_thread(core, task);
	__u16 kind = mark->word >> 8 & AT_MARK_KIND;
	__u64 name[AT_STEP_NAME_WORDS] = {};
	struct at_step *step = NULL;
	struct at_stamp now;

	if (mark->word >> 16)
		bpf_probe_read_user_str(name, sizeof(name), (const void *)(mark->word >> 16));
	now = stable_stamp(&core->frames);
	if (thread) {
		if (thread->state == AT_NEW)
			see_thread(core, thread, task, now);
		step = at_step_begin(thread, &core->frames, mark->step_id,
				     kind < AT_KINDS ? kind : 0, mark->budget >> 32, now);
	}
	if (!step) {
		core->tally.refused++;
		return;
	}
	core->tally.begun++;
	step->deadline_ns = mark->third;
	step->budget_us = mark->budget;
	step->name[0] = name[0];
	step->name[1] = name[1];
	step->name[2] = name[2];
}

/* The open step that the mark names, of the thread that runs. */
static __always_inline struct at_step *marked_step(struct at_thread *thread,
						   const struct at_mark *mark)
{
	return thread ? at_step_find(thread, mark->step_id) : NULL;
}

static __always_inline void count_step(const struct at_step_record *record)
{
	__u32 kind = record->kind;
	struct at_kind_figures *figures = at_lookup(kinds, &kind);

	if (!figures)
		return;
	figures->count++;
	at_record(&figures->durations, record->end_ns - record->begin_ns);
	for (__u32 i = 0; i < AT_BUCKETS; i++)
		figures->buckets_ns[i] += record->buckets_ns[i];
}

static __always_inline void send_wait(struct at_core *core, const struct at_wait *wait,
				      const struct at_step_record *record)
{
	struct at_wait_sample *sample = at_ring_reserve(records, sizeof(*sample));

	if (!sample) {
		core->tally.lost_records++;
		return;
	}
	sample->type = AT_WAIT_SAMPLE;
	sample->size = sizeof(*sample);
	sample->step_id = record->id;
	sample->begin_ns = record->begin_ns;
	sample->tid = record->tid;
	sample->pad = 0;
	sample->wait = *wait;
	at_ring_submit(sample, BPF_RB_NO_WAKEUP);
}

static __always_inline void send_step(struct at_core *core, struct at_thread *thread,
				      struct at_step_sample *sample)
{
	__u32 kind = sample->step.kind;
	__u64 *floor_ns = at_lookup(floors, &kind);

	if (floor_ns && sample->step.end_ns - sample->step.begin_ns < *floor_ns)
		return;
	sample->type = AT_STEP_SAMPLE;
	sample->size = sizeof(*sample);
	sample->step.waits = 0;
	for (__u32 i = 0; i < AT_WAITS; i++)
		sample->step.waits += at_wait_within(&thread->waits[i], &sample->step);
	if (at_ring_output(records, sample, sizeof(*sample), BPF_RB_NO_WAKEUP)) {
		core->tally.lost_records++;
		return;
	}
	core->tally.kept++;
	for (__u32 i = 0; i < AT_WAITS; i++)
		if (at_wait_within(&thread->waits[i], &sample->step))
			send_wait(core, &thread->waits[i], &sample->step);
}

/* What the step's socket brought, when it is still the step's. */
static __always_inline struct at_ready *ready_of(const struct at_step *step, __u32 tgid)
{
	__u64 cookie = step->cookie;
	struct at_ready *ready = cookie ? at_lookup(bound, &cookie) : NULL;

	return ready && ready->step_id == step->id && ready->tgid == tgid ? ready : NULL;
}

static __always_inline void end_step(struct at_core *core, const struct at_mark *mark)
{
	struct at_stamp now = stable_stamp(&core->frames);
	struct at_thread *thread = thread_of(at_current());
	struct at_step *step = marked_step(thread, mark);
	struct at_step_sample *sample;
	struct at_ready *ready;
	struct at_comm comm;
	__u64 cookie;
	__u32 zero = 0;

	sample = at_lookup(scratch, &zero);
	if (!step || !sample) {
		core->tally.stray_ends++;
		return;
	}
	cookie = step->cookie;
	ready = ready_of(step, thread->tgid);
	at_step_end(thread, &core->frames, step, ready, now, &sample->step);
	at_step_blame(&sample->step, at_this_turn(&core->history));
	if (ready) {
		sample->step.ready.cookie = cookie;
		at_delete(bound, &cookie);
	}
	comm = comm_of(at_current());
	sample->step.comm[0] = comm.words[0];
	sample->step.comm[1] = comm.words[1];
	core->tally.ended++;
	count_step(&sample->step);
	send_step(core, thread, sample);
}

static __always_inline void bind_socket(struct at_core *core, const struct at_mark *mark)
{
	struct at_thread *thread = thread_of(at_current());
	struct at_step *step = marked_step(thread, mark);
	struct at_ready ready = { .step_id = mark->step_id, .cookie = mark->third };

	if (!step)
		return;
	ready.tgid = thread->tgid;
	if (at_update(bound, &mark->third, &ready, BPF_ANY)) {
		core->tally.bound_missed++;
		return;
	}
	step->cookie = mark->third;
	step->flags |= AT_STEP_BOUND;
}

/* The socket that was bound last keeps, without its cookie, what it brought until the end. */
static __always_inline void unbind_socket(const struct at_mark *mark)
{
	struct at_thread *thread = thread_of(at_current());
	struct at_step *step = marked_step(thread, mark);
	struct at_ready *ready = at_lookup(bound, &mark->third);

	if (!ready || !thread || ready->step_id != mark->step_id || ready->tgid != thread->tgid)
		return;
	if (step && step->cookie == mark->third)
		ready->cookie = 0;
	else
		at_delete(bound, &mark->third);
}

/* Without a selector every thread that marks is an agent's. */
static __always_inline bool may_mark(void)
{
	const volatile struct at_params *params = at_params();

	return !(params->nr_comms | params->nr_tgids | params->nr_cgroups) ||
	       is_agent(at_current());
}

static __always_inline void take_mark(const struct at_mark *mark)
{
	struct at_core *core = open_core();

	if (!core || !may_mark())
		return;
	switch (mark->word & 0xff) {
	case AT_MARK_BEGIN:
		begin_step(core, mark);
		break;
	case AT_MARK_END:
		end_step(core, mark);
		break;
	case AT_MARK_BIND:
		bind_socket(core, mark);
		break;
	case AT_MARK_UNBIND:
		unbind_socket(mark);
		break;
	}
}

/* A thread that exits in the middle of its steps unbinds their sockets. */
static __always_inline void forget_steps(void)
{
	struct at_thread *thread = open_core() ? thread_of(at_current()) : NULL;

	if (!thread || !thread->open_steps)
		return;
	for (__u32 i = 0; i < AT_STEPS; i++) {
		__u64 cookie = thread->steps[i].cookie;

		if (thread->steps[i].id && cookie)
			at_delete(bound, &cookie);
	}
}

#endif
