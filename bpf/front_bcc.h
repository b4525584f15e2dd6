/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bcc's side of front.h: bcc compiles and loads; its map syntax and its rewriting are not used.
 *
 * agenttune/measure/bcc.py makes the maps that the libbpf object declares and gives each one's
 * descriptor as AT_FD_<name>; and each field of kernel.h's structs as AT_OFF_<type>__<field>,
 * far below 0 where the kernel has none.
 */
#ifndef AGENTTUNE_FRONT_BCC_H
#define AGENTTUNE_FRONT_BCC_H

#define AT_KERNEL(type) at_kernel_##type
#include "kernel.h"

/* bcc loads each function alone. */
#define AT_SUBPROGRAM static __always_inline

#define AT_NOTHING(name) struct at_nothing_##name
#define AT_HASH(name, key, value) AT_NOTHING(name)
#define AT_ARRAY(name, entries, value) AT_NOTHING(name)
#define AT_PERCPU_ARRAY(name, entries, value) AT_NOTHING(name)
#define AT_RING(name, bytes) AT_NOTHING(name)
#define AT_THREADS(name, value) AT_NOTHING(name)

/* BPF_PSEUDO_MAP_FD and BPF_PSEUDO_MAP_VALUE of a 64-bit immediate load. */
#define AT_MAP(name) ((void *)bpf_pseudo_fd(1, AT_FD_##name))
#define AT_VALUE(name) ((void *)bpf_pseudo_fd(2, AT_FD_##name))

static void *(*at_lookup_in)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*at_update_in)(void *map, const void *key, const void *value,
			    __u64 flags) = (void *)BPF_FUNC_map_update_elem;
static long (*at_delete_in)(void *map, const void *key) = (void *)BPF_FUNC_map_delete_elem;
static void *(*at_lookup_percpu_in)(void *map, const void *key,
				    __u32 cpu) = (void *)BPF_FUNC_map_lookup_percpu_elem;
#define at_lookup(name, key) at_lookup_in(AT_MAP(name), key)
#define at_update(name, key, value, flags) at_update_in(AT_MAP(name), key, value, flags)
#define at_delete(name, key) at_delete_in(AT_MAP(name), key)
#define at_lookup_percpu(name, key, cpu) at_lookup_percpu_in(AT_MAP(name), key, cpu)

#define AT_CONSTANT(type, name)                                                                    \
	static __always_inline const volatile type *at_##name(void)                                \
	{                                                                                          \
		return AT_VALUE(name);                                                             \
	}
#define AT_VARIABLE(name)                                                                          \
	static __always_inline __u32 at_##name(void)                                               \
	{                                                                                          \
		return *(const volatile __u32 *)AT_VALUE(name);                                    \
	}
#define AT_ZERO(type, name) AT_NOTHING(name)
#define at_zero(name) ((const void *)AT_VALUE(zero))

#define at_thread_get(name, task) at_thread_by_id(AT_MAP(name), AT_READ(task, task_struct, pid))
#define at_thread_make(name, task)                                                                 \
	at_thread_add(AT_MAP(name), AT_READ(task, task_struct, pid), AT_VALUE(zero))

static void *(*at_ring_reserve_in)(void *map, __u64 size,
				   __u64 flags) = (void *)BPF_FUNC_ringbuf_reserve;
static void (*at_ring_submit)(void *record, __u64 flags) = (void *)BPF_FUNC_ringbuf_submit;
static void (*at_ring_discard)(void *record, __u64 flags) = (void *)BPF_FUNC_ringbuf_discard;
static long (*at_ring_output_in)(void *map, const void *data, __u64 size,
				 __u64 flags) = (void *)BPF_FUNC_ringbuf_output;
#define at_ring_reserve(name, size) at_ring_reserve_in(AT_MAP(name), size, 0)
#define at_ring_output(name, data, size, flags) at_ring_output_in(AT_MAP(name), data, size, flags)

#define AT_OFFSET(type, field) AT_OFF_##type##__##field
#define AT_FIELD(type, field) (((struct at_kernel_##type *)0)->field)
/* No helper has this number: the verifier refuses what reads a field that the kernel lacks. */
static void (*at_no_such_field)(void) = (void *)0x7fffffff;
#define AT_READ_AT(pointer, offset, like)                                                          \
	({                                                                                         \
		__typeof__(like) value_ = 0;                                                       \
		if ((offset) < 0)                                                                  \
			at_no_such_field();                                                        \
		bpf_probe_read_kernel(&value_, sizeof(value_),                                     \
				      (const char *)(pointer) + (offset));                         \
		value_;                                                                            \
	})
#define AT_READ(pointer, type, field)                                                              \
	AT_READ_AT(pointer, AT_OFFSET(type, field), AT_FIELD(type, field))
#define AT_READ_IN(pointer, type, field, inner, inner_field)                                       \
	AT_READ_AT(pointer, AT_OFFSET(type, field) + AT_OFFSET(inner, inner_field),                \
		   AT_FIELD(type, field).inner_field)
#define AT_READ_WORD(pointer, type, field, index)                                                  \
	AT_READ_AT(pointer, AT_OFFSET(type, field) + 8 * (index), (__u64)0)
#define AT_PROBE AT_READ
#define AT_PROBE_IN AT_READ_IN
#define AT_PROBE_ELEMENT(pointer, type, field, index)                                              \
	AT_READ_AT(pointer, AT_OFFSET(type, field) + (index) * sizeof(AT_FIELD(type, field)[0]),   \
		   AT_FIELD(type, field)[0])
#define AT_COPY(target, size, pointer, type, field)                                                \
	({                                                                                         \
		if (AT_OFFSET(type, field) < 0)                                                    \
			at_no_such_field();                                                        \
		bpf_probe_read_kernel(target, size,                                                \
				      (const char *)(pointer) + AT_OFFSET(type, field));           \
	})
#define AT_HAS(type, field) (AT_OFFSET(type, field) >= 0)

static __always_inline struct task_struct *at_current(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

/* Offsets of per-CPU variables, from /proc/kallsyms; programs named *_exact need them. */
#ifndef AT_PER_CPU_OFFSET
#define AT_PER_CPU_OFFSET 0
#define AT_PREEMPT_COUNT 0
#define AT_SOFTIRQS_PENDING 0
#endif

static __always_inline __u64 at_this_cpu(__u64 variable)
{
	/* __per_cpu_offset[cpu], include/asm-generic/percpu.h. */
	return variable + AT_READ_AT(AT_PER_CPU_OFFSET, 8 * bpf_get_smp_processor_id(), (__u64)0);
}

static __always_inline int at_preempt_count(void)
{
	return AT_READ_AT(at_this_cpu(AT_PREEMPT_COUNT), 0, (int)0);
}

static __always_inline __u16 at_softirqs_pending(void)
{
	return AT_READ_AT(at_this_cpu(AT_SOFTIRQS_PENDING), 0, (__u16)0);
}

#define AT_PROGRAM(name, tracepoint) int name(unsigned long long *ctx)
#define AT_KPROBE(name, function) int name(unsigned long long *ctx)
/* Compiled, and never loaded. */
#define AT_FENTRY(name, function) int name(unsigned long long *ctx)
#define AT_FEXIT(name, function) int name(unsigned long long *ctx)
#define AT_RUN_ONCE(name) int name(void *ctx)
#define AT_ARG(index, type) ((type)ctx[index])

#define AT_LICENSE() AT_NOTHING(license)

#endif
