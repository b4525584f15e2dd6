// SPDX-License-Identifier: GPL-2.0-only
/*
 * Drives the pure core as the front-ends do, from a stream of events on standard input.
 *
 * Prints what a front-end would send. Whatever the events are, a thread's buckets must never
 * shrink and must sum to the time since it was seen, and every record must sum to its duration;
 * the first event after which that is not so ends the run with status 1.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/types.h>
#include "records.h"

#define CPUS 8
#define WATCHED 64 /* tids below are watched threads; 0 is idle */
#define KTHREADS 128 /* below are kernel threads */
#define KSOFTIRQDS 192 /* below are ksoftirqd's; above, tasks that nobody watches */
#define COOKIES 256

enum type {
	HARDIRQ_ENTER,
	HARDIRQ_EXIT,
	RAISE,
	SOFTIRQ_ENTER,
	SOFTIRQ_EXIT,
	COMPLETE,
	WAKING,
	WAKEUP,
	SWITCH,
	MODE,
	BEGIN,
	END,
	BIND,
};

/* What `tid`, `number`, `one` and `other` are depends on the type; see each below. */
struct event {
	__u64 now_ns;
	__u64 one;
	__u64 other;
	__u32 type;
	__u32 cpu;
	__u32 tid;
	__u32 number;
};

struct watched {
	struct at_thread core;
	__u64 seen_ns;
	__u64 before_ns[AT_BUCKETS];
};

static struct at_cpu cpus[CPUS];
static struct at_history histories[CPUS];
static struct watched threads[WATCHED];
static struct at_cause conduits[KTHREADS];
static struct { __u64 step; struct at_ready ready; } sockets[COOKIES];
static __u64 floor_ns, events, strays, refused;

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "event %" PRIu64 ": %s\n", (uint64_t)events, #condition); \
			exit(1); \
		} \
	} while (0)

static void check_thread(struct watched *thread)
{
	const struct at_thread *core = &thread->core;
	__u64 sum_ns = 0;
	int index;

	if (core->state == AT_NEW)
		return;
	for (index = 0; index < AT_BUCKETS; index++) {
		CHECK(core->total_ns[index] >= thread->before_ns[index]);
		thread->before_ns[index] = core->total_ns[index];
		sum_ns += core->total_ns[index];
	}
	CHECK(sum_ns == at_thread_reached(core) - thread->seen_ns);
	CHECK(core->open_steps <= AT_STEPS);
}

static void see(struct watched *thread, struct at_cpu *cpu, __u32 tid, struct at_stamp now)
{
	if (thread->core.state != AT_NEW)
		return;
	at_thread_seen(&thread->core, cpu, tid, tid, now);
	thread->seen_ns = now.now_ns;
}

static void print_cause(const struct at_cause *cause)
{
	printf(" %llu %llu %llu %llu %u %u %u %u %u", cause->irq_ns, cause->raise_ns,
	       cause->entry_ns, cause->thread_ns, cause->irq, cause->origin, cause->conduit,
	       cause->irq_cpu, cause->flags);
}

static void print_chain(const struct at_chain *chain)
{
	print_cause(&chain->cause);
	printf(" %u %u %u %llu %llu", chain->vector, chain->cpu, chain->done.kind,
	       chain->done.kind ? chain->done.done_ns : 0,
	       chain->done.kind ? chain->done.subject : 0);
}

static void check_wait(const struct at_wait *wait)
{
	const struct at_holder *holder = &wait->holder;
	__u64 from_ns = wait->wakeup_ns ? wait->wakeup_ns : wait->waking_ns;

	if (!from_ns)
		from_ns = wait->out_ns;
	CHECK(wait->out_ns < wait->in_ns);
	CHECK(from_ns >= wait->out_ns && from_ns <= wait->in_ns);
	CHECK(!wait->waking_ns || !wait->wakeup_ns || wait->waking_ns <= wait->wakeup_ns);
	CHECK(holder->held_ns + holder->idle_ns <= holder->seen_ns);
	CHECK(holder->seen_ns <= wait->in_ns - from_ns);
	CHECK(wait->hardirq_ns + wait->softirq_ns <= wait->in_ns - from_ns);
	CHECK(!holder->held_ns == !holder->tid);
}

/* What kept waits and their like spent blocked is part of the step. */
static void check_like(const struct at_thread *thread, const struct at_step_record *record)
{
	__u64 external_ns = 0, waits = 0;
	int index;

	for (index = 0; index < AT_WAITS; index++) {
		const struct at_wait *wait = &thread->waits[index];

		if (!at_wait_within(wait, record))
			continue;
		waits += 1 + wait->like_waits;
		external_ns += wait->like_ns;
		if (wait->waking_ns)
			external_ns += at_after(at_chain_begin(&wait->chain.cause, wait->waking_ns),
						wait->out_ns);
		CHECK(!wait->like_waits || wait->waking_ns);
	}
	CHECK(record->flags & AT_STEP_OVERLAPPED || waits <= record->counts.waits);
	CHECK(record->flags & AT_STEP_OVERLAPPED ||
	      external_ns <= record->buckets_ns[AT_EXTERNAL]);
}

static void print_waits(const struct at_thread *thread, const struct at_step_record *record)
{
	int index;

	check_like(thread, record);

	for (index = 0; index < AT_WAITS; index++) {
		const struct at_wait *wait = &thread->waits[index];

		if (!at_wait_within(wait, record))
			continue;
		check_wait(wait);
		printf("wait %llu %llu %llu %llu %u %u %u %u %llu %llu %u %u", wait->out_ns,
		       wait->waking_ns, wait->wakeup_ns, wait->in_ns, wait->out_cpu,
		       wait->queue_cpu, wait->in_cpu, wait->flags, wait->hardirq_ns,
		       wait->softirq_ns, wait->waker, wait->waking_ns ? wait->waker_cpu : 0);
		print_chain(&wait->chain);
		printf(" %u %u %llu %llu %llu %u %u %u\n", wait->holder.tid, wait->holder.cpu,
		       wait->holder.held_ns, wait->holder.seen_ns, wait->holder.idle_ns,
		       wait->holder.softirq.weight_ns ? wait->holder.softirq.vector : 0,
		       wait->holder.softirq.weight_ns ? wait->holder.softirq.irq : 0,
		       wait->holder.hardirq.weight_ns ? wait->holder.hardirq.irq : 0);
	}
}

static void check_record(const struct at_step_record *record)
{
	__u64 sum_ns = 0;
	int index;

	CHECK(record->end_ns >= record->begin_ns);
	for (index = 0; index < AT_BUCKETS; index++) {
		CHECK(record->buckets_ns[index] <= record->end_ns - record->begin_ns);
		sum_ns += record->buckets_ns[index];
	}
	CHECK(sum_ns == record->end_ns - record->begin_ns);
	CHECK(record->counts.preemptions <= record->counts.waits);
	CHECK(record->counts.waits <= events && record->counts.migrations <= events);
	CHECK(record->counts.coalesced <= events && record->counts.unattributed <= events);
}

static void print_record(const struct at_thread *thread, const struct at_step_record *record)
{
	const struct at_counts *counts = &record->counts;
	int index;

	printf("step %llu %llu %llu %u %u %u", record->id, record->begin_ns, record->end_ns,
	       record->tid, record->kind, record->flags);
	printf(" %u %u %u %u %u", counts->waits, counts->preemptions, counts->migrations,
	       counts->coalesced, counts->unattributed);
	for (index = 0; index < AT_BUCKETS; index++)
		printf(" %llu", record->buckets_ns[index]);
	if (record->flags & AT_STEP_READY)
		printf(" %llu %u", record->ready.ready_ns, record->ready.count);
	printf("\n");
	print_waits(thread, record);
}

/* number: kind; one: cookie or dev_t */
static void complete(struct at_cpu *cpu, const struct event *event)
{
	struct at_completion done = {
		.kind = event->number, .subject = event->one, .done_ns = event->now_ns
	};
	struct at_ready *ready;

	at_complete(cpu, done);
	if (event->number != AT_SOCKET || event->one >= COOKIES || !sockets[event->one].step)
		return;
	ready = &sockets[event->one].ready;
	ready->ready_ns = event->now_ns;
	ready->count++;
	at_chain_now(cpu, 0, &ready->chain);
}

/* tid: woken; number: not 0 in a hardirq that no tracepoint shows; one: the current task */
static void waking(struct at_cpu *cpu, const struct event *event)
{
	__u64 comm[AT_COMM_WORDS] = { event->one };

	if (event->tid && event->tid < WATCHED)
		at_thread_waking(&threads[event->tid].core, cpu, event->number, event->one, comm,
				 event->now_ns);
	else if (event->tid < KTHREADS)
		conduits[event->tid] = at_cause_handed(cpu, event->tid, event->now_ns);
}

/* tid: prev; number: next; one: at_wait.flags of prev */
static void switch_tasks(struct at_cpu *cpu, struct at_history *history, const struct event *event)
{
	struct at_stamp now = at_stamp(cpu, event->now_ns);
	__u64 comm[AT_COMM_WORDS] = { event->number };
	__u32 next = event->number, flags = 0;
	const struct at_cause *cause = 0;

	if (at_switch_matters(cpu))
		at_switch(cpu, event->tid, next, event->now_ns);
	if (event->tid && event->tid < WATCHED) {
		struct watched *prev = &threads[event->tid];

		see(prev, cpu, event->tid, now);
		at_thread_blame(&prev->core, at_this_turn(history));
		at_thread_out(&prev->core, cpu, event->one, now);
		check_thread(prev);
	}
	if (next && next < WATCHED) {
		struct at_wait *slot = 0;

		if (threads[next].core.state == AT_NEW)
			see(&threads[next], cpu, next, now);
		else
			slot = at_thread_in(&threads[next].core, cpu, floor_ns, now);
		if (slot)
			at_wait_holder(slot, &histories[slot->queue_cpu]);
		check_thread(&threads[next]);
	}
	at_history_switch(history, next, comm, event->now_ns);
	if (next >= WATCHED && next < KTHREADS) {
		flags = AT_TASK_KTHREAD;
		cause = conduits[next].flags ? &conduits[next] : 0;
	} else if (next >= KTHREADS && next < KSOFTIRQDS) {
		flags = AT_TASK_KTHREAD | AT_TASK_KSOFTIRQD;
	}
	at_task(cpu, next, flags, cause);
}

/* tid: who marks; one: step; number: kind */
static void begin(struct at_cpu *cpu, const struct event *event)
{
	struct watched *thread = &threads[event->tid];
	struct at_stamp now = at_stamp(cpu, event->now_ns);

	see(thread, cpu, event->tid, now);
	if (!at_step_begin(&thread->core, cpu, event->one, event->number, 0, now))
		refused++;
}

/* tid: who marks; one: step */
static void end(struct at_cpu *cpu, struct at_history *history, const struct event *event)
{
	struct watched *thread = &threads[event->tid];
	struct at_stamp now = at_stamp(cpu, event->now_ns);
	struct at_step_record record = {};
	const struct at_ready *ready = 0;
	struct at_step *step;

	see(thread, cpu, event->tid, now);
	step = at_step_find(&thread->core, event->one);
	if (!step) {
		strays++;
		return;
	}
	if (step->cookie && sockets[step->cookie].step == step->id) {
		ready = &sockets[step->cookie].ready;
		sockets[step->cookie].step = 0;
	}
	at_step_end(&thread->core, cpu, step, ready, now, &record);
	at_step_blame(&record, at_this_turn(history));
	check_record(&record);
	print_record(&thread->core, &record);
}

/* tid: who marks; one: step; other: cookie */
static void bind(const struct event *event)
{
	struct at_step *step = at_step_find(&threads[event->tid].core, event->one);

	if (!step)
		return;
	step->cookie = event->other;
	memset(&sockets[event->other], 0, sizeof(sockets[0]));
	sockets[event->other].step = event->one;
}

static void mark(struct at_cpu *cpu, struct at_history *history, const struct event *event)
{
	switch (event->type) {
	case MODE: /* number: the bucket that running counts to */
		see(&threads[event->tid], cpu, event->tid, at_stamp(cpu, event->now_ns));
		at_thread_mode(&threads[event->tid].core, cpu, event->number,
			       at_stamp(cpu, event->now_ns));
		break;
	case BEGIN:
		begin(cpu, event);
		break;
	case END:
		end(cpu, history, event);
		break;
	default:
		bind(event);
	}
	check_thread(&threads[event->tid]);
}

static void play(const struct event *event)
{
	struct at_cpu *cpu = &cpus[event->cpu];
	struct at_history *history = &histories[event->cpu];
	__u64 self_ns;

	switch (event->type) {
	case HARDIRQ_ENTER: /* number: id */
		at_hardirq_enter(cpu, event->number, event->now_ns);
		break;
	case HARDIRQ_EXIT:
		self_ns = at_hardirq_exit(cpu, event->number, event->now_ns);
		if (self_ns != AT_UNKNOWN)
			at_history_hardirq(history, event->number, self_ns);
		break;
	case RAISE: /* number: vector; one: was pending */
		at_softirq_raise(cpu, event->number, event->one, event->now_ns);
		break;
	case SOFTIRQ_ENTER:
		at_softirq_enter(cpu, event->number, at_stamp(cpu, event->now_ns));
		break;
	case SOFTIRQ_EXIT:
		self_ns = at_softirq_exit(cpu, event->number, at_stamp(cpu, event->now_ns));
		if (self_ns != AT_UNKNOWN)
			at_history_softirq(history, &cpu->softirq.cause, event->number, self_ns);
		break;
	case COMPLETE:
		complete(cpu, event);
		break;
	case WAKING:
		waking(cpu, event);
		break;
	case WAKEUP: /* tid: woken; number: its CPU; one: throttled */
		at_thread_wakeup(&threads[event->tid].core, &cpus[event->number], event->one,
				 event->now_ns);
		break;
	case SWITCH:
		switch_tasks(cpu, history, event);
		break;
	default:
		mark(cpu, history, event);
	}
}

int main(int argc, char **argv)
{
	static struct event batch[4096];
	__u64 unpaired = 0;
	size_t count, index;

	floor_ns = argc > 1 ? strtoull(argv[1], 0, 10) : 0;
	for (index = 0; index < CPUS; index++)
		cpus[index].id = index;
	while ((count = fread(batch, sizeof(batch[0]), 4096, stdin)))
		for (index = 0; index < count; index++, events++)
			play(&batch[index]);
	for (index = 0; index < CPUS; index++)
		unpaired += cpus[index].unpaired;
	for (index = 1; index < WATCHED; index++) {
		const struct at_thread *thread = &threads[index].core;
		int bucket;

		if (thread->state == AT_NEW)
			continue;
		printf("thread %zu %llu", index, at_thread_reached(thread) - threads[index].seen_ns);
		for (bucket = 0; bucket < AT_BUCKETS; bucket++)
			printf(" %llu", thread->total_ns[bucket]);
		printf("\n");
	}
	printf("run %llu %llu %llu %llu\n", events, unpaired, strays, refused);
	return 0;
}
