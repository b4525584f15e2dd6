/* SPDX-License-Identifier: GPL-2.0-only */
/* libbpf's side of front.h: CO-RE field access, maps that libbpf creates. */
#ifndef AGENTTUNE_FRONT_CORE_H
#define AGENTTUNE_FRONT_CORE_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <stdbool.h>
#include <stddef.h>

#define AT_KERNEL(type) type
#include "kernel.h"

/* A function of its own where that is possible: the verifier then looks at it once. */
#define AT_SUBPROGRAM static __noinline
#define AT_ONCE __noinline

/* Sizes of 1 are set before loading, from the machine's CPUs and vectors. */
#define AT_MAP_OF(type_, name_, entries_, key_, value_)                                            \
	struct {                                                                                   \
		__uint(type, type_);                                                               \
		__uint(max_entries, entries_);                                                     \
		__type(key, key_);                                                                 \
		__type(value, value_);                                                             \
	} name_ SEC(".maps")
#define AT_HASH(name, key, value) AT_MAP_OF(BPF_MAP_TYPE_HASH, name, 1, key, value)
#define AT_ARRAY(name, entries, value) AT_MAP_OF(BPF_MAP_TYPE_ARRAY, name, entries, __u32, value)
#define AT_PERCPU_ARRAY(name, entries, value)                                                      \
	AT_MAP_OF(BPF_MAP_TYPE_PERCPU_ARRAY, name, entries, __u32, value)
#define AT_RING(name_, bytes_)                                                                     \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                \
		__uint(max_entries, bytes_);                                                       \
	} name_ SEC(".maps")
/* Task storage, or a hash table by thread id where by_tid is set before loading. */
#define AT_THREADS(name_, value_)                                                                  \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_TASK_STORAGE);                                           \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__type(key, int);                                                                  \
		__type(value, value_);                                                             \
	} name_ SEC(".maps");                                                                      \
	static const value_ name_##_new

#define AT_MAP(name) ((void *)&name)
#define at_lookup_in(map, key) bpf_map_lookup_elem(map, key)
#define at_update_in(map, key, value, flags) bpf_map_update_elem(map, key, value, flags)
#define at_lookup(name, key) bpf_map_lookup_elem(&name, key)
#define at_update(name, key, value, flags) bpf_map_update_elem(&name, key, value, flags)
#define at_delete(name, key) bpf_map_delete_elem(&name, key)
#define at_lookup_percpu(name, key, cpu) bpf_map_lookup_percpu_elem(&name, key, cpu)

#define AT_CONSTANT(type, name)                                                                    \
	const volatile type name SEC(".rodata." #name);                                            \
	static __always_inline const volatile type *at_##name(void)                                \
	{                                                                                          \
		return &name;                                                                      \
	}
#define AT_VARIABLE(name)                                                                          \
	volatile __u32 name SEC(".data." #name) = 0;                                               \
	static __always_inline __u32 at_##name(void)                                               \
	{                                                                                          \
		return name;                                                                       \
	}
#define AT_ZERO(type, name) static const type name
#define at_zero(name) ((const void *)&name)

/*
 * Before v6.2 (e8b02296a6b8) the kernel finds no task storage for a program that interrupted
 * another one's look at any: loaded.py makes the maps hash tables there, as bcc's are.
 */
AT_CONSTANT(__u32, by_tid)
#define at_thread_get(name, task)                                                                  \
	(*at_by_tid() ? at_thread_by_id(&name, (task)->pid) :                                      \
			bpf_task_storage_get(&name, task, NULL, 0))
#define at_thread_make(name, task)                                                                 \
	(*at_by_tid() ? at_thread_add(&name, (task)->pid, &name##_new) :                           \
			bpf_task_storage_get(&name, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE))

#define at_ring_reserve(name, size) bpf_ringbuf_reserve(&name, size, 0)
#define at_ring_submit(record, flags) bpf_ringbuf_submit(record, flags)
#define at_ring_discard(record, flags) bpf_ringbuf_discard(record, flags)
#define at_ring_output(name, data, size, flags) bpf_ringbuf_output(&name, data, size, flags)

/* Plain loads: `pointer` must be a tracepoint's argument, the current task, or read from them. */
#define AT_READ(pointer, type, field) (((struct type *)(pointer))->field)
#define AT_READ_IN(pointer, type, field, inner, inner_field)                                       \
	(((struct type *)(pointer))->field.inner_field)
#define AT_READ_WORD(pointer, type, field, index)                                                  \
	(((const __u64 *)__builtin_preserve_access_index(                                          \
		&((struct type *)(pointer))->field))[index])
/* Through a helper: any address will do. */
#define AT_PROBE(pointer, type, field) BPF_CORE_READ((struct type *)(pointer), field)
#define AT_PROBE_IN(pointer, type, field, inner, inner_field)                                      \
	BPF_CORE_READ((struct type *)(pointer), field.inner_field)
#define AT_PROBE_ELEMENT(pointer, type, field, index)                                              \
	({                                                                                         \
		__typeof__(((struct type *)0)->field[0]) value_ = 0;                               \
		bpf_core_read(&value_, sizeof(value_), &((struct type *)(pointer))->field[index]); \
		value_;                                                                            \
	})
#define AT_COPY(target, size, pointer, type, field)                                                \
	bpf_core_read(target, size, &((struct type *)(pointer))->field)
#define AT_HAS(type, field) bpf_core_field_exists(((struct type *)0)->field)

static __always_inline struct task_struct *at_current(void)
{
	return bpf_get_current_task_btf();
}

extern const int __preempt_count __ksym __weak;
extern const __u16 __softirq_pending __ksym __weak;
extern const struct pcpu_hot pcpu_hot __ksym __weak;
extern const irq_cpustat_t irq_stat __ksym __weak;

/*
 * Keeps loads of two variables apart: merged into one instruction, the verifier refuses them
 * ('same insn cannot be used with different pointers', v6.12).
 */
#define AT_KEEP_APART(value) __asm__ volatile("" : "+r"(value))

/* This CPU's; only for programs named *_exact. */
static __always_inline int at_preempt_count(void)
{
	int count = 0;

	if (&__preempt_count) {
		count = *(const int *)bpf_this_cpu_ptr(&__preempt_count);
		AT_KEEP_APART(count);
	} else if (&pcpu_hot && bpf_core_field_exists(pcpu_hot.preempt_count)) {
		count = ((const struct pcpu_hot *)bpf_this_cpu_ptr(&pcpu_hot))->preempt_count;
		AT_KEEP_APART(count);
	}
	return count;
}

/* This CPU's; only for programs named *_exact. */
static __always_inline __u16 at_softirqs_pending(void)
{
	__u16 pending = 0;

	if (&__softirq_pending) {
		pending = *(const __u16 *)bpf_this_cpu_ptr(&__softirq_pending);
		AT_KEEP_APART(pending);
	} else if (&pcpu_hot && bpf_core_field_exists(pcpu_hot.softirq_pending)) {
		pending = ((const struct pcpu_hot *)bpf_this_cpu_ptr(&pcpu_hot))->softirq_pending;
		AT_KEEP_APART(pending);
	} else if (&irq_stat && bpf_core_field_exists(irq_stat.__softirq_pending)) {
		/* A typedef's variable: the verifier takes no direct read of it. */
		bpf_core_read(&pending, sizeof(pending),
			      &((const irq_cpustat_t *)bpf_this_cpu_ptr(&irq_stat))->__softirq_pending);
	}
	return pending;
}

#define AT_PROGRAM(name, tracepoint)                                                               \
	SEC("tp_btf/" #tracepoint)                                                                 \
	int name(unsigned long long *ctx)
#define AT_KPROBE(name, function)                                                                  \
	SEC("kprobe/" #function)                                                                   \
	int name(unsigned long long *ctx)
#define AT_FENTRY(name, function)                                                                  \
	SEC("fentry/" #function)                                                                   \
	int name(unsigned long long *ctx)
#define AT_FEXIT(name, function)                                                                   \
	SEC("fexit/" #function)                                                                    \
	int name(unsigned long long *ctx)
#define AT_RUN_ONCE(name)                                                                          \
	SEC("raw_tp")                                                                              \
	int name(void *ctx)
#define AT_ARG(index, type) ((type)ctx[index])

#define AT_LICENSE() char LICENSE[] SEC("license") = "GPL"

#endif
