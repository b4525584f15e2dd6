// SPDX-License-Identifier: GPL-2.0-only
/* Counts tracepoint hits and nothing else, for test_measure_counts.py. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define ROWS 2048
#define SOFTIRQ_ROW 1024
#define ARCH_ROW 1040

struct irqaction {
	struct irqaction *next;
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ROWS);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

static __always_inline int hit(__u32 row)
{
	__u64 *count = bpf_map_lookup_elem(&hits, &row);

	if (count)
		*count += 1;
	return 0;
}

SEC("tp_btf/irq_handler_exit")
int BPF_PROG(irq, int number, struct irqaction *action)
{
	return action->next || number >= SOFTIRQ_ROW ? 0 : hit(number);
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(softirq, unsigned int vector)
{
	return hit(SOFTIRQ_ROW + vector);
}

#define ARCH(name, row)                                                                            \
	SEC("tp_btf/" #name "_exit")                                                               \
	int name(void *ctx)                                                                        \
	{                                                                                          \
		return hit(ARCH_ROW + row);                                                        \
	}

ARCH(local_timer, 0)
ARCH(reschedule, 1)
ARCH(call_function, 2)
ARCH(call_function_single, 3)
ARCH(irq_work, 4)

char LICENSE[] SEC("license") = "GPL";
