// SPDX-License-Identifier: GPL-2.0-only
/* The device's calls, right, nearly right and wrong; and the page it maps. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fuzz.h"

#define PAGE 4096

uint64_t odd_word(struct worker *w)
{
	static const uint64_t words[] = {
		0, 1, 15, 16, 17, 24, 4095, 4096, 4097, 0x7fffffff, 0x80000000, 0xffffffff,
		0x7fffffffffff, 0x800000000000, 0x7fffffffffffffff, 0x8000000000000000,
		0xffff888000000000, 0xffffffff81000000, 0xffffffffff600000, ~0ULL,
	};

	if (chance(w, 30))
		return any(w);
	return words[below(w, sizeof(words) / sizeof(*words))] + (chance(w, 20) ? below(w, 9) : 0);
}

int any_fd(struct worker *w)
{
	return w->fds[below(w, FDS)];
}

static struct map *any_map(struct worker *w)
{
	return &w->maps[below(w, MAPS)];
}

void *odd_pointer(struct worker *w)
{
	unsigned char *mapped;

	switch (below(w, 8)) {
	case 0: /* over the end of the plain page, into the read-only one */
		return w->pages + PAGE - below(w, 40);
	case 1: /* into the page that is none */
		return w->pages + 2 * PAGE - below(w, 40);
	case 2:
		return w->pages + PAGE + below(w, PAGE - 64);
	case 3: /* the device's own page, if it is there */
		mapped = any_map(w)->at;
		return mapped ? mapped + below(w, PAGE) : NULL;
	case 4:
	case 5:
		return (void *)odd_word(w);
	default:
		return w->pages + below(w, PAGE - 64);
	}
}

void do_open(struct worker *w)
{
	static const int flags[] = { O_RDWR, O_RDWR, O_RDWR | O_CLOEXEC, O_RDONLY, O_WRONLY,
				     O_RDWR | O_NONBLOCK, O_RDWR | O_DIRECT | O_SYNC };
	int fd = open(DEVICE, flags[below(w, sizeof(flags) / sizeof(*flags))]);
	volatile int *place = &w->fds[below(w, FDS)];

	if (fd < 0)
		return;
	tell(OPENED);
	if (*place >= 0)
		close(*place);
	*place = fd;
}

void do_close(struct worker *w)
{
	volatile int *place = &w->fds[below(w, FDS)];
	int fd = *place;

	if (fd < 0)
		return;
	if (chance(w, 20)) {
		*place = dup(fd);
		close(fd);
		return;
	}
	*place = -1;
	close(fd);
}

static int any_tid(struct worker *w)
{
	switch (below(w, 6)) {
	case 0: /* a process nearby, alive or not */
		return getpid() + (int)below(w, 40) - 20;
	case 1:
		return (int)odd_word(w);
	case 2: /* init, kernel threads */
		return (int)below(w, 30);
	case 3:
		return (int)syscall(SYS_gettid);
	default:
		return 0;
	}
}

static void count_answer(unsigned long command, int result)
{
	if (result)
		tell(REFUSED);
	else if (command == AGENT_LATENCY_ATTACH)
		tell(ATTACHED);
	else if (command == AGENT_LATENCY_DETACH)
		tell(DETACHED);
	else
		tell(INFORMED);
}

/* A known command with an argument that is right but for one thing, at most. */
void do_ioctl(struct worker *w)
{
	static const unsigned long commands[] = { AGENT_LATENCY_ATTACH, AGENT_LATENCY_ATTACH,
						  AGENT_LATENCY_DETACH, AGENT_LATENCY_INFO };
	unsigned long command = commands[below(w, sizeof(commands) / sizeof(*commands))];
	struct agent_latency_attach *request = (void *)(w->pages + below(w, 1000) * 4);
	int fd = any_fd(w), tid = any_tid(w), result;

	/* By chance alone hardly any finds an agent. */
	if (command == AGENT_LATENCY_DETACH && chance(w, 80)) {
		fd = w->agent_fd;
		tid = w->agent_tid;
	}
	memset(request, 0, 64);
	request->size = command == AGENT_LATENCY_INFO ? 24 : 16;
	request->tid = tid;
	switch (below(w, 12)) {
	case 0:
		request->size = odd_word(w);
		break;
	case 1:
		request->flags = odd_word(w);
		break;
	case 2:
		((unsigned char *)request)[below(w, 64)] = any(w);
		break;
	case 3:
		request = odd_pointer(w);
		break;
	}
	result = ioctl(fd, command, request);
	if (!result && command == AGENT_LATENCY_ATTACH) {
		w->agent_fd = fd;
		w->agent_tid = tid;
	}
	count_answer(command, result);
}

void do_wild_ioctl(struct worker *w)
{
	unsigned int command = any(w);

	if (chance(w, 80))
		command = _IOC(below(w, 4), AGENT_LATENCY_MAGIC, below(w, 5), below(w, 1 << 14));
	count_answer(0, ioctl(any_fd(w), command, odd_pointer(w)));
}

void do_map(struct worker *w)
{
	static const int flags[] = { MAP_SHARED, MAP_SHARED, MAP_SHARED, MAP_PRIVATE,
				     MAP_SHARED | MAP_POPULATE, MAP_SHARED | MAP_LOCKED,
				     MAP_SHARED_VALIDATE };
	size_t size = chance(w, 80) ? PAGE : below(w, 5 * PAGE);
	off_t offset = chance(w, 85) ? 0 : (off_t)(odd_word(w) & ~(uint64_t)(PAGE - 1));
	int protection = chance(w, 70) ? PROT_READ | PROT_WRITE : (int)below(w, 8);
	struct map *map = any_map(w);
	void *at = mmap(NULL, size, protection, flags[below(w, sizeof(flags) / sizeof(*flags))],
			any_fd(w), offset);

	if (at == MAP_FAILED) {
		tell(MAP_REFUSED);
		return;
	}
	tell(MAPPED);
	if (map->at)
		munmap(map->at, map->size);
	map->at = at;
	map->size = size;
}

void do_unmap(struct worker *w)
{
	struct map *map = any_map(w);
	unsigned char *at = map->at;

	if (!at)
		return;
	map->at = NULL;
	munmap(at, map->size);
}

void do_protect(struct worker *w)
{
	struct map *map = any_map(w);

	if (map->at)
		mprotect(map->at, PAGE, below(w, 8));
}

/* Grows, shrinks, moves and doubles (old size 0) mappings. */
void do_remap(struct worker *w)
{
	struct map *map = any_map(w);
	size_t old = chance(w, 80) ? PAGE : 0, new = chance(w, 60) ? PAGE : below(w, 4) * PAGE;
	void *at;

	if (!map->at)
		return;
	at = mremap(map->at, old, new, MREMAP_MAYMOVE | (chance(w, 20) ? MREMAP_DONTUNMAP : 0));
	if (at == MAP_FAILED)
		return;
	if (!old && map->at)
		munmap(map->at, map->size);
	map->at = at;
	map->size = new;
}

void do_advise(struct worker *w)
{
	static const int advices[] = { MADV_DONTNEED, MADV_DOFORK, MADV_DONTFORK, MADV_REMOVE,
				       MADV_MERGEABLE, MADV_HUGEPAGE, MADV_DODUMP, MADV_FREE,
				       MADV_WILLNEED, MADV_WIPEONFORK, 20 /* COLD */,
				       21 /* PAGEOUT */, 22, 23 /* POPULATE_* */, 25 };
	struct map *map = any_map(w);

	if (map->at)
		madvise(map->at, PAGE, advices[below(w, sizeof(advices) / sizeof(*advices))]);
	if (map->at && chance(w, 20))
		mlock(map->at, PAGE);
}

static void store(struct worker *w, void *data)
{
	unsigned char *at = data;
	unsigned int times = below(w, 200);

	while (times--)
		*(volatile uint64_t *)(at + below(w, PAGE / 8) * 8) = odd_word(w);
	tell(STORED);
}

void do_store(struct worker *w)
{
	unsigned char *at = any_map(w)->at;

	if (at)
		guarded(store, w, at);
}

/* As the protocol says, in a slot that may be another's. */
static void step(struct worker *w, void *data)
{
	volatile struct agent_latency_slot *slot = data;

	slot += below(w, AGENT_LATENCY_SLOTS);
	slot->begin_ns = chance(w, 50) ? 0 : odd_word(w);
	slot->deadline_ns = odd_word(w);
	slot->budget_us = odd_word(w);
	slot->kind = below(w, 4);
	slot->begun++;
	__atomic_store_n(&slot->step_id, any(w), __ATOMIC_RELEASE);
	if (chance(w, 60))
		do_sleep(w);
	slot->end_ns = chance(w, 50) ? 0 : odd_word(w);
	if (chance(w, 80))
		__atomic_store_n(&slot->step_id, 0, __ATOMIC_RELEASE);
	tell(STORED);
}

void do_slot_step(struct worker *w)
{
	unsigned char *at = any_map(w)->at;

	if (at)
		guarded(step, w, at);
}
