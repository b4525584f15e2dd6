// SPDX-License-Identifier: GPL-2.0-only
/* Marks, and things to wait for: sockets, disks, timers, other CPUs. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

#define OPTION 0x41475354
#define IDS 12 /* more than the steps that are followed at once */

static unsigned long id_of(struct worker *w)
{
	return chance(w, 90) ? 1 + below(w, IDS) : odd_word(w);
}

void do_mark(struct worker *w)
{
	static const char name[] = "a step's name that is longer than what is read";
	unsigned long op = 1 + below(w, 4), id = id_of(w);
	uint64_t address = chance(w, 60) ? (uintptr_t)name : (uintptr_t)odd_pointer(w);

	if (op == 1)
		op |= below(w, 4) << 8 | address << 16;
	prctl(OPTION, op, id, op > 2 ? below(w, 64) : odd_word(w), odd_word(w));
	tell(MARKED);
}

void do_wild_mark(struct worker *w)
{
	prctl(chance(w, 90) ? OPTION : (int)any(w), odd_word(w), odd_word(w), odd_word(w),
	      odd_word(w));
	tell(MARKED);
}

static void exchange(struct worker *w, int from, int to)
{
	struct pollfd wait = { .fd = to, .events = POLLIN };
	char byte[64] = "";
	unsigned int times = 1 + below(w, 5);

	while (times--) {
		if (write(from, byte, sizeof(byte)) > 0 && poll(&wait, 1, 20) > 0)
			tell(TRANSFERRED);
		if (read(to, byte, sizeof(byte)) < 0)
			break;
	}
}

/* In a step to which the receiving socket is bound, which may end too early. */
static void bound_exchange(struct worker *w, int from, int to)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);
	unsigned long id = id_of(w);

	prctl(OPTION, 1, id, 0, 0);
	if (!getsockopt(to, SOL_SOCKET, SO_COOKIE, &cookie, &size))
		prctl(OPTION, 3, id, cookie, 0);
	if (chance(w, 20))
		prctl(OPTION, 2, id, 0, 0);
	exchange(w, from, to);
	if (chance(w, 70))
		prctl(OPTION, 4, id, cookie, 0);
	prctl(OPTION, 2, id, 0, 0);
	tell(MARKED);
}

void do_socket(struct worker *w)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int to = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	int from = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	if (to >= 0 && from >= 0 && !bind(to, (void *)&address, size) &&
	    !getsockname(to, (void *)&address, &size) &&
	    !connect(from, (void *)&address, size)) {
		if (chance(w, 60))
			bound_exchange(w, from, to);
		else
			exchange(w, from, to);
	}
	close(to);
	close(from);
}

/* Root's: reads that the disks complete, most of them in a step. */
void do_block(struct worker *w)
{
	static const char *const disks[] = { "/dev/nvme0n1", "/dev/vda" };
	int fd = open(disks[below(w, 2)], O_RDONLY | (chance(w, 80) ? O_DIRECT : 0));
	unsigned long id = id_of(w);
	void *buffer;

	if (fd < 0)
		return;
	if (!posix_memalign(&buffer, 4096, 65536)) {
		prctl(OPTION, 1, id, 0, 0);
		if (pread(fd, buffer, 4096 << below(w, 5), below(w, 1000) * 4096) > 0)
			tell(TRANSFERRED);
		if (chance(w, 80))
			prctl(OPTION, 2, id, 0, 0);
		free(buffer);
	}
	close(fd);
}

void do_sleep(struct worker *w)
{
	struct timespec span = { .tv_nsec = (long)below(w, 2000000) };

	if (chance(w, 30))
		sched_yield();
	else
		nanosleep(&span, NULL);
}

void do_migrate(struct worker *w)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(below(w, 4), &cpus);
	if (chance(w, 50))
		memset(&cpus, 0xff, sizeof(cpus));
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

/* The files for root, in pieces of odd sizes. */
void do_read(struct worker *w)
{
	static const char *const names[] = { "agents", "steps", "x86",
					     "guardrail", "placement" };
	char path[64], text[4096];
	unsigned int reads = 1 + below(w, 30);
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/debug/agent_latency/%s", names[below(w, 5)]);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return;
	if (chance(w, 30))
		lseek(fd, (off_t)odd_word(w), SEEK_SET);
	while (reads-- && read(fd, text, 1 + below(w, sizeof(text))) > 0)
		tell(READ);
	close(fd);
}

/* Root's settings: CPU lists, numbers and modes that may be none. */
void do_sysctl(struct worker *w)
{
	static const char *const values[] = { "", "0", "1-2", "0-3", "3-1", "99999", "-1", "x", "64",
					      "18446744073709551616", "0,0,0,0,2", "1000000", "near", "away",
					      "same", "off" };
	static const char *const names[] = { "agent_cpus", "agent_napi_budget",
					     "agent_softirq_budget_ns", "placement",
					     "placement_window_ms", "placement_quiet_pct" };
	const char *value = values[below(w, sizeof(values) / sizeof(*values))];
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/kernel/agent_latency/%s", names[below(w, 6)]);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return;
	if (write(fd, value, strlen(value)) < 0)
		tell(REFUSED);
	close(fd);
}
