/* SPDX-License-Identifier: GPL-2.0-only */
/* Probe block: from a request's issue to its completion. */
#ifndef AGENTTUNE_PROBE_BLOCK_BPF_H
#define AGENTTUNE_PROBE_BLOCK_BPF_H

#include "probe_maps.bpf.h"

/* False for a request without a disk, such as a SCSI command of the driver's own. */
static __always_inline bool set_disk(struct at_sample_key *key, struct request *request)
{
	struct request_queue *queue = AT_READ(request, request, q);
	struct gendisk *disk = AT_READ(queue, request_queue, disk);

	if (!disk)
		return false;
	key->number = (__u32)AT_READ(disk, gendisk, major) << 20 |
		      AT_READ(disk, gendisk, first_minor);
	AT_COPY(key->name, sizeof(key->name), disk, gendisk, disk_name);
	return true;
}

static __always_inline void count_request(struct at_probe_cpu *cpu, __u32 sample,
					  struct request *request, __u64 value)
{
	struct at_sample_key key = { .sample = sample };

	if (set_disk(&key, request))
		record(cpu, &key, value);
}

/* By the request's address: device and sector are not unique while a request is split or merged. */
static __always_inline void probe_issue(struct request *request)
{
	struct at_probe_cpu *cpu = open_cpu();
	__u32 op = AT_READ(request, request, cmd_flags) & AT_REQ_OP_MASK;
	struct at_request issued = { .bytes = AT_READ(request, request, __data_len) };
	__u64 key = (__u64)request;

	if (!cpu || (op != AT_REQ_OP_READ && op != AT_REQ_OP_WRITE))
		return;
	issued.sample = op == AT_REQ_OP_READ ? AT_S_READ : AT_S_WRITE;
	issued.issue_ns = bpf_ktime_get_ns();
	if (at_update(requests, &key, &issued, BPF_ANY))
		cpu->lost++;
}

/* A part of a request may complete before the rest: the last part ends it. */
static __always_inline void probe_complete(struct request *request, int error, __u32 bytes)
{
	struct at_probe_cpu *cpu = open_cpu();
	__u64 key = (__u64)request, now_ns;
	struct at_request *issued;
	__u32 sample;

	issued = at_lookup(requests, &key);
	if (!issued || (!error && bytes < AT_READ(request, request, __data_len)))
		return;
	now_ns = bpf_ktime_get_ns();
	sample = error ? AT_S_FAILED : issued->bytes > at_chosen()->max_bytes ? AT_S_LARGE : issued->sample;
	if (cpu)
		count_request(cpu, sample, request,
			      sample == issued->sample ? now_ns - issued->issue_ns : 0);
	at_delete(requests, &key);
}

/* It will be issued again, and is timed from there. */
static __always_inline void probe_requeue(struct request *request)
{
	struct at_probe_cpu *cpu = open_cpu();
	__u64 key = (__u64)request;

	if (!at_delete(requests, &key) && cpu)
		count_request(cpu, AT_S_REQUEUED, request, 0);
}

/* It lives on in another request. */
static __always_inline void probe_merge(struct request *request)
{
	__u64 key = (__u64)request;

	at_delete(requests, &key);
}

#endif
