// SPDX-License-Identifier: GPL-2.0-only
/* A program that triggers its own tracepoint, for test_libbpf.py: each run is one recursion miss. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tp_btf/bpf_trace_printk")
int recurse(void *ctx)
{
	bpf_printk("again");
	return 0;
}

SEC("raw_tp")
int start(void *ctx)
{
	bpf_printk("start");
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
