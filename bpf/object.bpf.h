/* SPDX-License-Identifier: GPL-2.0-only */
/* Why a task leaves its CPU, read from the kernel instead of from system call tracepoints. */
#ifndef AGENTTUNE_OBJECT_BPF_H
#define AGENTTUNE_OBJECT_BPF_H

#include "front.h"
#include "stages.h"

/* include/uapi/linux/stat.h */
#define AT_FILE_TYPE 0170000
#define AT_FILE_IS_SOCKET 0140000
#define AT_FILE_IS_PIPE 0010000
/* TASK_UNINTERRUPTIBLE, include/linux/sched.h, v6.1 to v6.18. */
#define AT_STATE_UNINTERRUPTIBLE 2

/* x86-64's struct pt_regs (arch/x86/include/asm/ptrace.h) in 64-bit words. */
#define AT_REGISTER_WORDS 21
#define AT_REGISTER_R10 7
#define AT_REGISTER_R8 9
#define AT_REGISTER_DX 12
#define AT_REGISTER_SI 13
#define AT_REGISTER_DI 14
#define AT_REGISTER_ORIG_AX 15
#define AT_REGISTER_IP 16
#define AT_REGISTER_CS 17
/* __USER_CS, arch/x86/include/asm/segment.h. */
#define AT_USER_CS 0x33
#define AT_STACK_BYTES 16384

/* x86-64 system call numbers (arch/x86/entry/syscalls/syscall_64.tbl). */
static __always_inline __u32 object_kind_of(__s64 syscall)
{
	switch (syscall) {
	case 7: /* poll */
	case 23: /* select */
	case 232: /* epoll_wait */
	case 270: /* pselect6 */
	case 271: /* ppoll */
	case 281: /* epoll_pwait */
	case 441: /* epoll_pwait2 */
		return AT_OBJECT_POLL;
	case 35: /* nanosleep */
	case 230: /* clock_nanosleep */
		return AT_OBJECT_TIMER;
	case 61: /* wait4 */
	case 247: /* waitid */
		return AT_OBJECT_CHILD;
	case 202: /* futex */
	case 449: /* futex_waitv */
		return AT_OBJECT_FUTEX;
	case 426: /* io_uring_enter */
		return AT_OBJECT_URING;
	case 0: /* read */
	case 1: /* write */
	case 17: /* pread64 */
	case 18: /* pwrite64 */
	case 19: /* readv */
	case 20: /* writev */
	case 42: /* connect */
	case 43: /* accept */
	case 44: /* sendto */
	case 45: /* recvfrom */
	case 46: /* sendmsg */
	case 47: /* recvmsg */
	case 74: /* fsync */
	case 75: /* fdatasync */
	case 288: /* accept4 */
	case 295: /* preadv */
	case 327: /* preadv2 */
		return AT_OBJECT_FILE;
	default:
		return AT_NO_OBJECT;
	}
}

/* Whether the group's quota (cpu.max) is used up; since v6.18 each task is held back by itself. */
static __always_inline bool throttled(struct task_struct *task)
{
	struct cfs_rq *queue;

	if (AT_HAS(task_struct, throttled))
		return AT_READ(task, task_struct, throttled);
	if (!AT_HAS(sched_entity, cfs_rq) || !AT_HAS(cfs_rq, throttle_count))
		return false;
	queue = AT_READ_IN(task, task_struct, se, sched_entity, cfs_rq);
	return AT_PROBE(queue, cfs_rq, throttle_count) > 0;
}

/* For at_thread_out(). `preempt`: it did not ask to leave, whatever its state says. */
static __always_inline __u32 out_flags(struct task_struct *prev, bool preempt)
{
	__u32 state = AT_READ(prev, task_struct, __state);

	if (preempt || !state)
		return throttled(prev) ? AT_WAIT_THROTTLED : 0;
	return AT_WAIT_BLOCKED | (state & AT_STATE_UNINTERRUPTIBLE ? AT_WAIT_IO : 0);
}

/* A file descriptor's inode, and what kind of file it is. */
static __always_inline void note_file(struct at_thread *thread, struct task_struct *task, __u32 fd)
{
	struct files_struct *files = AT_READ(task, task_struct, files);
	struct fdtable *table = AT_PROBE(files, files_struct, fdt);
	struct file **slots, *file = NULL;
	struct inode *inode;
	__u32 type;

	if (!table || fd >= AT_PROBE(table, fdtable, max_fds))
		return;
	slots = AT_PROBE(table, fdtable, fd);
	bpf_probe_read_kernel(&file, sizeof(file), slots + fd);
	inode = AT_PROBE(file, file, f_inode);
	if (!inode)
		return;
	type = AT_PROBE(inode, inode, i_mode) & AT_FILE_TYPE;
	thread->object = AT_PROBE(inode, inode, i_ino);
	if (type == AT_FILE_IS_SOCKET)
		thread->object_kind = AT_OBJECT_SOCKET;
	else if (type == AT_FILE_IS_PIPE)
		thread->object_kind = AT_OBJECT_PIPE;
}

/*
 * The registers with which a sleeping thread entered the kernel, at the top of its stack. Without
 * the helper (bcc), user mode's code segment tells whether a kernel with FRED keeps two words
 * above them (TOP_OF_KERNEL_STACK_PADDING, arch/x86/include/asm/thread_info.h, v6.9).
 */
static __always_inline const __u64 *saved_registers(struct task_struct *task)
{
#ifdef AT_BCC
	const char *top = (const char *)AT_READ(task, task_struct, stack) + AT_STACK_BYTES;
	const __u64 *words = (const __u64 *)top - AT_REGISTER_WORDS;
	__u64 segment = 0;

	bpf_probe_read_kernel(&segment, sizeof(segment), words + AT_REGISTER_CS);
	return (segment & 0xffff) == AT_USER_CS ? words : words - 2;
#else
	return (const __u64 *)bpf_task_pt_regs(task);
#endif
}

/*
 * What a blocked user thread waits on: orig_ax is the system call's number, or -1 in a fault
 * (arch/x86/entry/entry_64.S stores it once it has taken the error code).
 */
static __always_inline void note_object(struct at_thread *thread, struct task_struct *task)
{
	const __u64 *words;
	__u64 saved[AT_REGISTER_CS - AT_REGISTER_DI + 1] = {};

	if (AT_READ(task, task_struct, flags) & AT_PF_KTHREAD)
		return;
	words = saved_registers(task);
	if (!words || bpf_probe_read_kernel(saved, sizeof(saved), words + AT_REGISTER_DI) ||
	    (saved[AT_REGISTER_CS - AT_REGISTER_DI] & 0xffff) != AT_USER_CS)
		return;
	if (saved[AT_REGISTER_ORIG_AX - AT_REGISTER_DI] == AT_UNKNOWN) {
		thread->out_flags |= AT_WAIT_FAULT;
		return;
	}
	thread->syscall = saved[AT_REGISTER_ORIG_AX - AT_REGISTER_DI];
	thread->object_kind = object_kind_of(thread->syscall);
	thread->object = saved[0];
	if (thread->object_kind == AT_OBJECT_FILE)
		note_file(thread, task, saved[0]);
}

#endif
