/* SPDX-License-Identifier: GPL-2.0-only */
/* What completes in the running frame: the next waking carries its name. */
#ifndef AGENTTUNE_COMPLETE_BPF_H
#define AGENTTUNE_COMPLETE_BPF_H

#include "core.bpf.h"

static __always_inline __u64 cookie_of(const struct sock *socket)
{
	__u64 cookie = 0;

	/* __sk_common is struct sock's first member. */
	AT_COPY(&cookie, sizeof(cookie), socket, sock_common, skc_cookie);
	return cookie;
}

/* Cookies are given on request; a bound socket has one, for the application asked for it. */
static __always_inline void socket_ready(const struct sock *socket)
{
	struct at_core *core = open_core();
	struct at_completion done = { .kind = AT_SOCKET };
	struct at_ready *ready;

	if (!core)
		return;
	done.subject = cookie_of(socket);
	done.done_ns = bpf_ktime_get_ns();
	at_complete(&core->frames, done);
	if (!done.subject)
		return;
	ready = at_lookup(bound, &done.subject);
	if (!ready || !ready->cookie)
		return;
	at_chain_now(&core->frames, 0, &ready->chain);
	ready->ready_ns = done.done_ns;
	ready->count++;
}

/* start_time_ns is 0 for requests whose queue keeps no time (blk_mq_need_time_stamp()). */
static __always_inline void request_done(struct request *request, unsigned int bytes)
{
	struct at_core *core = open_core();
	struct at_completion done = { .kind = AT_BLOCK, .bytes = bytes };
	struct request_queue *queue;
	struct gendisk *disk;
	__u64 start_ns;

	if (!core)
		return;
	queue = AT_PROBE(request, request, q);
	disk = AT_PROBE(queue, request_queue, disk);
	if (disk)
		done.subject = (__u64)AT_PROBE(disk, gendisk, major) << 32 |
			       (__u32)AT_PROBE(disk, gendisk, first_minor);
	done.done_ns = bpf_ktime_get_ns();
	start_ns = AT_PROBE(request, request, start_time_ns);
	if (start_ns && start_ns < done.done_ns)
		done.latency_ns = done.done_ns - start_ns;
	at_complete(&core->frames, done);
}

/*
 * The third argument is user_data (v6.1, v6.12) or the cqe itself (v6.18): kernel addresses are no
 * plausible user_data.
 */
static __always_inline void uring_done(__u64 third)
{
	struct at_core *core = open_core();
	struct at_completion done = { .kind = AT_URING, .subject = third };
	__u64 tag = 0;

	if (!core)
		return;
	if ((__s64)third < 0 && !AT_COPY(&tag, sizeof(tag), third, io_uring_cqe, user_data))
		done.subject = tag;
	done.done_ns = bpf_ktime_get_ns();
	at_complete(&core->frames, done);
}

#endif
