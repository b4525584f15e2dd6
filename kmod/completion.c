// SPDX-License-Identifier: GPL-2.0-only
/* Whose completion an interrupt carries, whether or not its thread sleeps. */
#include <linux/blk-mq.h>
#include <linux/hash.h>
#include <linux/interrupt.h>
#include <linux/kprobes.h>
#include <linux/log2.h>
#include <linux/preempt.h>
#include <linux/spinlock.h>
#include <net/sock.h>

#include "completion.h"
#include "core.h"
#include "napi_source.h"
#include "probes.h"
#include "step.h"
#include "trace.h"

/* Bios in flight that agents submitted. Direct-mapped by address: a collision loses the older. */
#define BIOS 1024
/* Bios of one request that are looked at; more are merged only in long sequential writes. */
#define BIOS_OF_REQUEST 16
/* Bound sockets: sets of four, by the cookie. */
#define BOUND_SETS 256
#define BOUND_WAYS 4

/*
 * Both tables' locks are raw: block_bio_queue and marks run with preemption off, completions in
 * hardirqs. Nothing is locked inside them. `task` is only compared: `serial` tells whether the
 * agent that is found for it is the one that was meant.
 */
struct flight {
	raw_spinlock_t lock;
	const struct bio *bio; /* NULL: free */
	const struct task_struct *task;
	u64 serial;
	u64 step_id;
};

struct bound {
	const struct task_struct *task;
	u64 serial;
	struct at_ready ready; /* ready.cookie 0: free */
};

/* Of a bound socket's completion. */
struct receiver {
	const struct task_struct *task;
	u64 serial;
	u64 step_id;
};

struct bound_set {
	raw_spinlock_t lock;
	struct bound ways[BOUND_WAYS];
};

static struct flight flights[BIOS];
static struct bound_set bound_sets[BOUND_SETS];

static struct flight *flight_of(const struct bio *bio)
{
	return &flights[hash_ptr(bio, ilog2(BIOS))];
}

static struct bound_set *set_of(u64 cookie)
{
	return &bound_sets[hash_64(cookie, ilog2(BOUND_SETS))];
}

static struct agent *agent_of(const struct task_struct *task, u64 serial)
{
	struct agent *agent = agents_find(task);

	return agent && agent->serial == serial ? agent : NULL;
}

/* What stays the same of a chain from its completion to the waking that follows, if one does. */
static u64 key_of(const struct at_cause *cause)
{
	return cause->irq_ns ?: cause->entry_ns ?: cause->thread_ns;
}

static void note_irq(struct agent *agent, int irq)
{
	unsigned int i;

	if (irq < 0)
		return;
	for (i = 0; i < AGENT_IRQS; i++)
		if (i < agent->nr_irqs && agent->irqs[i] == irq)
			return;
	WRITE_ONCE(agent->irqs[agent->nr_irqs % AGENT_IRQS], irq);
	WRITE_ONCE(agent->nr_irqs, agent->nr_irqs + 1);
}

void agent_completion_woken(struct agent *agent, bool slept, u64 now_ns)
{
	const struct at_chain *chain = &agent->thread.wake.chain;
	u64 told_key = agent->told_key;

	if (!agent_chain_completes(chain))
		return;
	note_irq(agent, agent_cause_irq(&chain->cause));
	agent->told_key = 0;
	if (told_key && told_key == key_of(&chain->cause))
		return;
	agent_step_complete(agent, agent_step_current(agent), chain,
			    slept ? AGENT_STAGE_COMPLETION : AGENT_STAGE_RUNNING, now_ns);
}

/*
 * What an agent waits for, or will, is there: told now, because no waking may follow. One that does
 * is not told again: it carries the same chain, also through a kernel thread.
 */
static void tell(struct agent *agent, u64 step_id, const struct at_chain *chain, u64 now_ns)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&agent->lock, flags);
	if (!agent->retired) {
		note_irq(agent, agent_cause_irq(&chain->cause));
		agent->told_key = key_of(&chain->cause);
		agent_step_complete(agent, step_id, chain,
				    agent->thread.state == AT_BLOCKED ? AGENT_STAGE_COMPLETION :
									AGENT_STAGE_RUNNING,
				    now_ns);
	}
	raw_spin_unlock_irqrestore(&agent->lock, flags);
}

static void chain_here(struct at_chain *chain)
{
	const struct at_cpu *frames = &this_cpu_ptr(&agent_cores)->frames;

	at_chain_now(frames, !frames->depth && in_hardirq(), chain);
}

/*
 * submit_bio_noacct_nocheck(), block/blk-core.c, v6.12: in the submitter's context. A bio of
 * anybody forgets an older one of the same address. Nobody waits for readahead.
 */
static void probe_bio(void *data, struct bio *bio)
{
	struct flight *flight = flight_of(bio);
	struct agent *agent = in_task() ? agents_find(current) : NULL;
	unsigned long flags;
	u64 step_id = 0;

	if (!agent && READ_ONCE(flight->bio) != bio)
		return;
	if (agent && !(bio->bi_opf & REQ_RAHEAD)) {
		raw_spin_lock_irqsave(&agent->lock, flags);
		step_id = agent_step_current(agent);
		raw_spin_unlock_irqrestore(&agent->lock, flags);
	}
	raw_spin_lock_irqsave(&flight->lock, flags);
	if (step_id) {
		flight->task = current;
		flight->serial = agent->serial;
		flight->step_id = step_id;
		WRITE_ONCE(flight->bio, bio);
	} else if (flight->bio == bio) {
		WRITE_ONCE(flight->bio, NULL);
	}
	raw_spin_unlock_irqrestore(&flight->lock, flags);
}

static void land(const struct bio *bio)
{
	struct flight *flight = flight_of(bio), landed;
	struct at_chain chain;
	struct agent *agent;
	unsigned long flags;

	if (READ_ONCE(flight->bio) != bio)
		return;
	raw_spin_lock_irqsave(&flight->lock, flags);
	landed = *flight;
	if (flight->bio == bio)
		WRITE_ONCE(flight->bio, NULL);
	raw_spin_unlock_irqrestore(&flight->lock, flags);
	if (landed.bio != bio)
		return;
	agent = agent_of(landed.task, landed.serial);
	if (!agent)
		return;
	chain_here(&chain);
	tell(agent, landed.step_id, &chain, agent_now_ns());
}

/* blk_update_request() and blk_complete_request(), block/blk-mq.c, v6.12: before the bios end. */
static void probe_request(void *data, struct request *request, blk_status_t error,
			  unsigned int bytes)
{
	const struct bio *bio = request->bio;
	unsigned int i;

	for (i = 0; bio && i < BIOS_OF_REQUEST && bio->bi_iter.bi_size <= bytes; i++) {
		bytes -= bio->bi_iter.bi_size;
		land(bio);
		bio = bio->bi_next;
	}
}

/*
 * Cookies are easily guessed: who binds another process's socket has a place of its own, and takes
 * nothing away. Within a process the last one has the socket.
 */
bool agent_completion_bind(struct agent *agent, u64 step_id, u64 cookie)
{
	struct bound_set *set = set_of(cookie);
	struct bound *place = NULL;
	unsigned int i;

	raw_spin_lock(&set->lock);
	for (i = 0; i < BOUND_WAYS; i++) {
		struct bound *bound = &set->ways[i];

		if (bound->ready.cookie == cookie && bound->ready.tgid == agent->task->tgid) {
			place = bound;
			break;
		}
		if (!bound->ready.cookie || !agent_of(bound->task, bound->serial))
			place = bound;
	}
	if (place) {
		place->task = agent->task;
		place->serial = agent->serial;
		place->ready = (struct at_ready){ .step_id = step_id, .cookie = cookie,
						  .tgid = agent->task->tgid };
	}
	raw_spin_unlock(&set->lock);
	return place;
}

bool agent_completion_unbind(const struct agent *agent, u64 step_id, u64 cookie,
			     struct at_ready *ready)
{
	struct bound_set *set = set_of(cookie);
	bool found = false;
	unsigned int i;

	raw_spin_lock(&set->lock);
	for (i = 0; i < BOUND_WAYS; i++) {
		struct bound *bound = &set->ways[i];

		if (bound->ready.cookie != cookie || bound->serial != agent->serial ||
		    bound->ready.step_id != step_id)
			continue;
		*ready = bound->ready;
		bound->ready.cookie = 0;
		found = true;
	}
	raw_spin_unlock(&set->lock);
	return found;
}

/* Whose socket it is: one of each process that bound it. The completion is noted for its end. */
static unsigned int note_ready(u64 cookie, const struct at_chain *chain, u64 now_ns,
			       struct receiver *found)
{
	struct bound_set *set = set_of(cookie);
	unsigned int i, count = 0;
	unsigned long flags;

	raw_spin_lock_irqsave(&set->lock, flags);
	for (i = 0; i < BOUND_WAYS; i++) {
		struct bound *bound = &set->ways[i];

		if (bound->ready.cookie != cookie)
			continue;
		bound->ready.chain = *chain;
		bound->ready.ready_ns = now_ns;
		bound->ready.count++;
		found[count++] = (struct receiver){ bound->task, bound->serial,
						    bound->ready.step_id };
	}
	raw_spin_unlock_irqrestore(&set->lock, flags);
	return count;
}

/*
 * What came while a system call held the socket's lock waits in the backlog, and the caller itself
 * finds it in release_sock(). Whose interrupt brought it tells the NAPI's id, which
 * sk_mark_napi_id() just wrote; when it was is not known any more.
 */
static void chain_of_backlog(const struct sock *sock, struct at_chain *chain)
{
#ifdef CONFIG_NET_RX_BUSY_POLL
	u32 irq, cpu;

	if (!in_task() || agent_cause_is_irq(&chain->cause) ||
	    !agent_napi_source_of(READ_ONCE(sock->sk_napi_id), &irq, &cpu))
		return;
	memset(&chain->cause, 0, sizeof(chain->cause));
	chain->cause.irq = irq;
	chain->cause.irq_cpu = cpu;
	chain->cause.flags = AT_CAUSE_IRQ;
	chain->cpu = cpu;
	chain->vector = NET_RX_SOFTIRQ + 1;
#endif
}

/* A socket is readable. Cookies are given on request: without one it cannot be bound. */
static void socket_ready(const struct sock *sock)
{
	u64 cookie = atomic64_read(&sock->sk_cookie), now_ns;
	struct receiver receivers[BOUND_WAYS];
	struct at_chain chain;
	struct agent *agent;
	unsigned int count;

	if (!cookie)
		return;
	chain_here(&chain);
	chain_of_backlog(sock, &chain);
	now_ns = agent_now_ns();
	count = note_ready(cookie, &chain, now_ns, receivers);
	while (count--) {
		agent = agent_of(receivers[count].task, receivers[count].serial);
		if (agent && agent_cause_is_irq(&chain.cause))
			tell(agent, receivers[count].step_id, &chain, now_ns);
	}
}

/* v6.3, 40e0b0908142. */
static void probe_socket(void *data, const struct sock *sock)
{
	socket_ready(sock);
}

/* Before that: what sk->sk_data_ready is for most sockets. */
static int hook_socket(struct kprobe *kprobe, struct pt_regs *regs)
{
	socket_ready((const struct sock *)regs->di);
	return 0;
}

static struct agent_probe block_probes[] = {
	{ .name = "block_bio_queue", .function = probe_bio },
	{ .name = "block_rq_complete", .function = probe_request },
};

static struct agent_probe socket_probe = {
	.name = "sk_data_ready", .function = probe_socket, .optional = true
};

/* Registered at init, which tells whether the kernel allows it, and armed while agents are. */
static struct kprobe socket_hook = {
	.symbol_name = "sock_def_readable",
	.pre_handler = hook_socket,
	.flags = KPROBE_FLAG_DISABLED,
};

static bool socket_hooked;

u64 agent_completion_features(void)
{
	return AGENT_LATENCY_BLOCK |
	       (socket_probe.tracepoint || socket_hooked ? AGENT_LATENCY_SOCKET : 0);
}

static void forget_all(void)
{
	unsigned int i, way;

	for (i = 0; i < BIOS; i++)
		flights[i].bio = NULL;
	for (i = 0; i < BOUND_SETS; i++)
		for (way = 0; way < BOUND_WAYS; way++)
			bound_sets[i].ways[way].ready.cookie = 0;
}

int agent_completion_start(void)
{
	int err;

	forget_all();
	err = agent_probes_register(block_probes, ARRAY_SIZE(block_probes));
	if (err)
		return err;
	err = agent_probes_register(&socket_probe, 1);
	if (!err && socket_hooked)
		err = enable_kprobe(&socket_hook);
	if (err) {
		agent_probes_unregister(&socket_probe, 1);
		agent_probes_unregister(block_probes, ARRAY_SIZE(block_probes));
	}
	return err;
}

void agent_completion_stop(void)
{
	if (socket_hooked)
		disable_kprobe(&socket_hook);
	agent_probes_unregister(&socket_probe, 1);
	agent_probes_unregister(block_probes, ARRAY_SIZE(block_probes));
}

int agent_completion_init(void)
{
	unsigned int i;
	int err;

	for (i = 0; i < BIOS; i++)
		raw_spin_lock_init(&flights[i].lock);
	for (i = 0; i < BOUND_SETS; i++)
		raw_spin_lock_init(&bound_sets[i].lock);
	err = agent_probes_find(block_probes, ARRAY_SIZE(block_probes));
	if (err)
		return err;
	agent_probes_find(&socket_probe, 1);
	/* A kernel without the one and the other lacks a feature, no more. */
	socket_hooked = !socket_probe.tracepoint && !register_kprobe(&socket_hook);
	return 0;
}

void agent_completion_exit(void)
{
	if (socket_hooked)
		unregister_kprobe(&socket_hook);
}
