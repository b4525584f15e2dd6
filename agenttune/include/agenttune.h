/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Marks the steps of an agent: the ABI, with four calls that speak it.
 *
 * A step is one turn of an agent's control loop: a tool call, a call of a model, anything with a
 * begin and an end. Marked steps let agenttune say which interrupt, softirq, completion or
 * scheduler decision delayed each of them.
 *
 * The protocol
 * ------------
 * A mark is one system call that no kernel knows:
 *
 *     prctl(0x41475354, op, step_id, extra, budget)           0x41475354 is "AGST" in ASCII
 *
 * The kernel answers EINVAL, whether or not anyone traces. A tracer sees the five words as they
 * pass; without one nothing else happens. It needs no privilege, no file and no library, and any
 * language that can make a system call can make a mark. All words are unsigned long, 64 bits wide.
 * 32-bit processes have no marks.
 *
 * op is put together as
 *
 *     bits 0-7     1 begin, 2 end, 3 bind, 4 unbind
 *     bits 8-15    for begin, the kind: 0 other, 1 tool, 2 model
 *     bits 16-63   for begin, the address of a NUL-terminated name, or 0 for no name. At most 23
 *                  bytes are read, during the call. An address of more than 47 bits does not fit:
 *                  pass 0 in its place.
 *
 *     op       step_id    extra                                              budget
 *     begin    the step   deadline_ns: absolute CLOCK_MONOTONIC; 0 for none   us and lane
 *     end      the step   0                                                   0
 *     bind     the step   the socket's SO_COOKIE                              0
 *     unbind   the step   the socket's SO_COOKIE                              0
 *
 * budget holds the latency budget in us in its lower 32 bits, 0 for none, and the lane in its upper
 * 32 bits. The lane is 0, or a number that tells the tasks of one thread apart, as an event loop
 * has them: steps of two lanes that are open at once do not hold each other, whichever ends first.
 *
 * step_id is any number but 0 that no other open step of the process has. The address of the
 * object that stands for the step is a good one. agenttune's Python package counts from 1, so in
 * a Python process keep away from small numbers.
 *
 * Rules
 * -----
 * - A step belongs to the thread that began it: mark its end on the same thread. A mark from
 *   another thread is about no step.
 * - A child that fork() makes has no steps.
 * - A thread may have several steps open at once, nested or overlapping (an event loop). Eight are
 *   followed; those beyond are counted as refused.
 * - bind ties a socket to a step: what arrives on it is then credited to that step, however many
 *   others the thread has open. Without it a wake-up during overlapping steps is reported as
 *   ambiguous. Unbind before the end.
 * - Deadline and budget are recorded only. Nothing is cancelled or slowed.
 * - A step's time is what the kernel sees between the two marks. Of the program, only the words
 *   above are recorded: ids, kind and the name. Put no secret into a name.
 *
 * What a mark costs: one system call that fails, and what a tracer adds while it is attached.
 *
 * This header needs C99 or C++ and the libc's headers. The calls leave errno as it was. Where marks
 * do not exist (no Linux, 32 bits) they compile to nothing.
 *
 *     static void fetch(struct request *request, int sock)
 *     {
 *         uint64_t id = (uintptr_t)request;
 *
 *         agenttune_begin(id, AGENTTUNE_TOOL, "fetch", 0, 0);
 *         uint64_t cookie = agenttune_bind(id, sock);
 *         ...
 *         agenttune_unbind(id, cookie);
 *         agenttune_end(id);
 *     }
 *
 * With the kernel module
 * ----------------------
 * Where the module agent_latency is loaded (/dev/agent_latency), it follows threads that are
 * attached to it: each attaches itself, once. It then sees the marks above, and offers a cheaper
 * kind: stores into a page that the module reads, without a system call.
 *
 *     struct agenttune_attached self;           one for each thread
 *
 *     agenttune_attach(&self);                  0 without the module; all else works still
 *     agenttune_page_begin(&self, id, AGENTTUNE_TOOL, 0, 0);
 *     ...
 *     agenttune_page_end(&self);
 *     agenttune_detach(&self);
 *
 * On a thread that is not attached, page_begin and page_end make the marks above instead. What a
 * store cannot do: steps have no name, no lane and no sockets; one is open at a time; agenttune's
 * BPF tracers do not see it. Use one of the two kinds on a thread. A step in which nothing happened
 * to its thread (no waking, no switch, no interrupt on its CPU) is counted, but not told.
 *
 * An attached thread holds the device open, so that the module cannot be unloaded. fork() attaches
 * no child: a child calls agenttune_forget() on what it inherited, then may attach itself.
 */
#ifndef AGENTTUNE_H
#define AGENTTUNE_H

#include <stdint.h>

#if defined(__linux__) && UINTPTR_MAX > 0xffffffff && !defined(__ILP32__)
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#define AGENTTUNE_HAS_MARKS 1
#else
#define AGENTTUNE_HAS_MARKS 0
#endif

#define AGENTTUNE_OPTION 0x41475354

enum agenttune_op {
	AGENTTUNE_BEGIN = 1,
	AGENTTUNE_END = 2,
	AGENTTUNE_BIND = 3,
	AGENTTUNE_UNBIND = 4
};

/* What a step does; reports keep the kinds apart. */
enum agenttune_kind {
	AGENTTUNE_OTHER = 0,
	AGENTTUNE_TOOL = 1,
	AGENTTUNE_MODEL = 2
};

/* One mark, word by word; the calls below are all that most programs need. */
static inline void agenttune_mark(uint64_t op, uint64_t step_id, uint64_t extra, uint64_t budget_us)
{
#if AGENTTUNE_HAS_MARKS
	int saved = errno;

	(void)prctl(AGENTTUNE_OPTION, (unsigned long)op, (unsigned long)step_id,
		    (unsigned long)extra, (unsigned long)budget_us);
	errno = saved;
#else
	(void)op, (void)step_id, (void)extra, (void)budget_us;
#endif
}

/*
 * Begins a step on the calling thread. name: NULL, or text that is valid during the call.
 * deadline_ns: the CLOCK_MONOTONIC moment by which it should end; budget_us: the latency it may
 * take; 0 for none.
 */
static inline void agenttune_begin(uint64_t step_id, enum agenttune_kind kind, const char *name,
				   uint64_t deadline_ns, uint64_t budget_us)
{
	uint64_t address = (uint64_t)(uintptr_t)name;

	if (address >> 47)
		address = 0;
	agenttune_mark(AGENTTUNE_BEGIN | (uint64_t)kind << 8 | address << 16, step_id, deadline_ns,
		       budget_us);
}

/* Ends a step, on the thread that began it. */
static inline void agenttune_end(uint64_t step_id)
{
	agenttune_mark(AGENTTUNE_END, step_id, 0, 0);
}

/* Ties a socket to an open step. Returns the socket's cookie for unbind; 0 if fd is no socket. */
static inline uint64_t agenttune_bind(uint64_t step_id, int fd)
{
	uint64_t cookie = 0;
#if AGENTTUNE_HAS_MARKS
	socklen_t size = sizeof(cookie);
	int saved = errno;
#ifdef SO_COOKIE
	int option = SO_COOKIE;
#else
	int option = 57; /* include/uapi/asm-generic/socket.h, since v4.6 */
#endif

	if (getsockopt(fd, SOL_SOCKET, option, &cookie, &size) || size != sizeof(cookie))
		cookie = 0;
	errno = saved;
#else
	(void)fd;
#endif
	if (cookie)
		agenttune_mark(AGENTTUNE_BIND, step_id, cookie, 0);
	return cookie;
}

/* Unties what agenttune_bind() tied; 0, its answer for no socket, does nothing. */
static inline void agenttune_unbind(uint64_t step_id, uint64_t cookie)
{
	if (cookie)
		agenttune_mark(AGENTTUNE_UNBIND, step_id, cookie, 0);
}

/* What a thread has of the module; all zeros is 'not attached'. The members are not for programs. */
struct agenttune_attached {
	struct agenttune_slot *slot;
	void *page;
	int fd;
	uint64_t step_id;
};

/* As struct agent_latency_slot in the module's uapi/agent_latency.h. */
struct agenttune_slot {
	uint64_t step_id;
	uint64_t begin_ns;
	uint64_t end_ns;
	uint64_t deadline_ns;
	uint32_t budget_us;
	uint32_t kind;
	uint32_t begun;
	uint32_t reserved[5];
};

#define AGENTTUNE_PAGE_BYTES 4096

/* Unmaps and closes without a word to the module: for a child that fork() made. */
static inline void agenttune_forget(struct agenttune_attached *self)
{
#if AGENTTUNE_HAS_MARKS
	int saved = errno;

	if (self->slot) {
		munmap(self->page, AGENTTUNE_PAGE_BYTES);
		close(self->fd);
	}
	errno = saved;
#endif
	self->slot = 0;
	self->page = 0;
	self->fd = -1;
	self->step_id = 0;
}

/* Attaches the calling thread. 1 when it is attached, 0 without the module or when it refuses. */
static inline int agenttune_attach(struct agenttune_attached *self)
{
#if AGENTTUNE_HAS_MARKS
	/* struct agent_latency_attach: size, thread (0: the caller), its slot, flags */
	uint32_t words[4] = { sizeof(words), 0, 0, 0 };
	int saved = errno;
#ifdef O_CLOEXEC
	int flags = O_RDWR | O_CLOEXEC;
#else
	int flags = O_RDWR | 02000000; /* include/uapi/asm-generic/fcntl.h; strict C99 hides it */
#endif
	void *page = MAP_FAILED;
	int fd = open("/dev/agent_latency", flags);

	if (fd >= 0)
		page = mmap(0, AGENTTUNE_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	/* _IOWR(0xA7, 1, struct agent_latency_attach) */
	if (page != MAP_FAILED && ioctl(fd, 0xc010a701ul, words) == 0) {
		self->slot = (struct agenttune_slot *)page + words[2];
		self->page = page;
		self->fd = fd;
		self->step_id = 0;
		errno = saved;
		return 1;
	}
	if (page != MAP_FAILED)
		munmap(page, AGENTTUNE_PAGE_BYTES);
	if (fd >= 0)
		close(fd);
	errno = saved;
#endif
	self->slot = 0;
	self->page = 0;
	self->fd = -1;
	self->step_id = 0;
	return 0;
}

/* Detaches the thread that attached, by closing what it attached through. */
static inline void agenttune_detach(struct agenttune_attached *self)
{
	agenttune_forget(self);
}

#if AGENTTUNE_HAS_MARKS
/* CLOCK_MONOTONIC; 0, which the module takes as 'at the next event', where time.h hides it. */
static inline uint64_t agenttune_now_ns(void)
{
#ifdef CLOCK_MONOTONIC
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now) == 0)
		return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
#endif
	return 0;
}
#endif

/*
 * Begins a step by stores; on a thread that is not attached, by a mark. The module reads the slot
 * once step_id is there, so that is stored last, after all else and after the end of the step
 * before.
 */
static inline void agenttune_page_begin(struct agenttune_attached *self, uint64_t step_id,
					enum agenttune_kind kind, uint64_t deadline_ns,
					uint32_t budget_us)
{
	self->step_id = step_id;
#if AGENTTUNE_HAS_MARKS
	if (self->slot) {
		struct agenttune_slot *slot = self->slot;

		__atomic_thread_fence(__ATOMIC_RELEASE);
		__atomic_store_n(&slot->begin_ns, agenttune_now_ns(), __ATOMIC_RELAXED);
		__atomic_store_n(&slot->deadline_ns, deadline_ns, __ATOMIC_RELAXED);
		__atomic_store_n(&slot->budget_us, budget_us, __ATOMIC_RELAXED);
		__atomic_store_n(&slot->kind, (uint32_t)kind, __ATOMIC_RELAXED);
		__atomic_store_n(&slot->begun, slot->begun + 1, __ATOMIC_RELAXED);
		__atomic_store_n(&slot->step_id, step_id, __ATOMIC_RELEASE);
		return;
	}
#endif
	agenttune_begin(step_id, kind, 0, deadline_ns, budget_us);
}

/* Ends the step that agenttune_page_begin() began. */
static inline void agenttune_page_end(struct agenttune_attached *self)
{
#if AGENTTUNE_HAS_MARKS
	if (self->slot) {
		__atomic_store_n(&self->slot->end_ns, agenttune_now_ns(), __ATOMIC_RELAXED);
		__atomic_store_n(&self->slot->step_id, 0, __ATOMIC_RELEASE);
		return;
	}
#endif
	agenttune_end(self->step_id);
}

#endif
