/* SPDX-License-Identifier: GPL-2.0-only */
/* What the fuzzer's files share: the seeded choices, a worker's possessions, the counts. */
#ifndef AGENT_FUZZ_H
#define AGENT_FUZZ_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "../../../kmod/uapi/agent_latency.h"

#define DEVICE "/dev/agent_latency"
#define FDS 8
#define MAPS 8
/* The socket pair over which workers pass files, kept over exec(). */
#define PASS_FD 900
#define RECEIVE_FD 901

/* One thread's view: those of a process have the same files and mappings, and race for them. */
struct worker {
	uint64_t random;
	volatile int fds[FDS];
	struct map {
		unsigned char *volatile at;
		volatile size_t size;
	} maps[MAPS];
	/* Three pages: plain, read-only, and none. */
	unsigned char *pages;
	unsigned int depth; /* of processes above it that are workers too */
	int agent_fd, agent_tid; /* whom it attached last, and by which file */
};

/* What was done and what came of it, in memory that all processes of a run share. */
enum count {
	OPENED, ATTACHED, DETACHED, REFUSED, INFORMED, MAPPED, MAP_REFUSED, STORED, MARKED, PASSED,
	RECEIVED, FORKED, EXECED, THREADS, KILLED, FAULTED, READ, TRANSFERRED, COUNTS
};

extern volatile uint64_t *counts;

static inline void tell(enum count count)
{
	__atomic_fetch_add(&counts[count], 1, __ATOMIC_RELAXED);
}

/* xorshift64* */
static inline uint64_t any(struct worker *w)
{
	w->random ^= w->random >> 12;
	w->random ^= w->random << 25;
	w->random ^= w->random >> 27;
	return w->random * 0x2545f4914f6cdd1dULL;
}

static inline uint64_t below(struct worker *w, uint64_t limit)
{
	return (any(w) >> 16) % limit;
}

static inline int chance(struct worker *w, unsigned int percent)
{
	return below(w, 100) < percent;
}

/* A word that code is likely to mishandle, or any. */
uint64_t odd_word(struct worker *w);
/* An address of at least 16 bytes that may be good, half good, or not user space's at all. */
void *odd_pointer(struct worker *w);
int any_fd(struct worker *w);

/* Each does one thing once. */
void do_open(struct worker *w);
void do_close(struct worker *w);
void do_ioctl(struct worker *w);
void do_wild_ioctl(struct worker *w);
void do_map(struct worker *w);
void do_unmap(struct worker *w);
void do_protect(struct worker *w);
void do_remap(struct worker *w);
void do_advise(struct worker *w);
void do_store(struct worker *w);
void do_slot_step(struct worker *w);
void do_mark(struct worker *w);
void do_wild_mark(struct worker *w);
void do_socket(struct worker *w);
void do_block(struct worker *w);
void do_sleep(struct worker *w);
void do_migrate(struct worker *w);
void do_pass(struct worker *w);
void do_receive(struct worker *w);
void do_fork(struct worker *w);
void do_thread(struct worker *w);
void do_exec(struct worker *w);
void do_read(struct worker *w);
void do_sysctl(struct worker *w);

/* Runs code that may fault; a fault ends it, and is counted. */
void guarded(void (*run)(struct worker *w, void *data), struct worker *w, void *data);

/* Does `steps` things, one after the other. */
void live(struct worker *w, unsigned int steps);
#endif
