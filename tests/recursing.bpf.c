// SPDX-License-Identifier: GPL-2.0-only
/* A program that faults on the tracepoint of faults, for test_libbpf.py: each run is one miss. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

static __always_inline int fault(void)
{
	char byte;

	/* Nothing can be mapped in the first page (vm.mmap_min_addr). */
	bpf_probe_read_user(&byte, sizeof(byte), (void *)16);
	return 0;
}

SEC("tp_btf/page_fault_kernel")
int recurse(void *ctx)
{
	return fault();
}

SEC("raw_tp")
int start(void *ctx)
{
	return fault();
}

char LICENSE[] SEC("license") = "GPL";
