// SPDX-License-Identifier: GPL-2.0-only
/*
 * One loop for bench_kmod.py: prints ns per operation by CLOCK_MONOTONIC.
 *
 * kmod_loop pipe N none|agent|step    two processes on one CPU wake each other N times over pipes;
 *                                     `agent`: both are attached; `step`: and each in a step
 * kmod_loop packet N none|agent|step  the same by UDP over loopback: NET_RX wakes them
 * kmod_loop mark N bare|prctl|store   N pairs of marks; `bare`: of a thread that is not attached
 * kmod_loop hold N                    attaches N threads that sleep, says so, ends with its input
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent_latency.h"

#define MARK 0x41475354UL

static uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int attach(unsigned int *slot)
{
	struct agent_latency_attach request = { .size = sizeof(request) };
	int fd = open("/dev/agent_latency", O_RDWR | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, AGENT_LATENCY_ATTACH, &request))
		die("attach");
	if (slot)
		*slot = request.slot;
	return fd;
}

static void play(int in, int out, unsigned long rounds, int first, const char *mode)
{
	char byte = 0;

	if (strcmp(mode, "none"))
		attach(NULL);
	if (!strcmp(mode, "step"))
		prctl(MARK, 1UL, 1UL + first, 0UL, 0UL);
	while (rounds--) {
		if (first && write(out, &byte, 1) != 1)
			die("write");
		if (read(in, &byte, 1) != 1)
			die("read");
		if (!first && write(out, &byte, 1) != 1)
			die("write");
	}
}

/* As pipe(2): the first end receives what the second sends. */
static int loopback(int ends[2])
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t size = sizeof(address);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ends[0] = socket(AF_INET, SOCK_DGRAM, 0);
	ends[1] = socket(AF_INET, SOCK_DGRAM, 0);
	return bind(ends[0], (struct sockaddr *)&address, size) ||
	       getsockname(ends[0], (struct sockaddr *)&address, &size) ||
	       connect(ends[1], (struct sockaddr *)&address, size);
}

static double wakeups(int (*make)(int ends[2]), unsigned long rounds, const char *mode)
{
	int there[2], back[2];
	uint64_t begin_ns;
	pid_t child;

	if (make(there) || make(back))
		die("pipe");
	child = fork();
	if (!child) {
		play(there[0], back[1], rounds + rounds / 10, 0, mode);
		exit(0);
	}
	play(back[0], there[1], rounds / 10, 1, mode);
	begin_ns = now_ns();
	play(back[0], there[1], rounds, 1, "none");
	begin_ns = now_ns() - begin_ns;
	waitpid(child, NULL, 0);
	return (double)begin_ns / rounds / 2;
}

static void store_marks(unsigned long rounds, int fd, unsigned int slot)
{
	struct agent_latency_slot *slots;
	unsigned long i;

	slots = mmap(NULL, AGENT_LATENCY_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (slots == MAP_FAILED)
		die("mmap");
	slots += slot;
	for (i = 1; i <= rounds; i++) {
		slots->begin_ns = now_ns();
		slots->begun++;
		atomic_store_explicit((_Atomic uint64_t *)&slots->step_id, i, memory_order_release);
		slots->end_ns = now_ns();
		atomic_store_explicit((_Atomic uint64_t *)&slots->step_id, 0, memory_order_release);
	}
}

static double marks(unsigned long rounds, const char *mode)
{
	unsigned int slot = 0;
	uint64_t begin_ns;
	unsigned long i;
	int fd = -1;

	if (strcmp(mode, "bare"))
		fd = attach(&slot);
	begin_ns = now_ns();
	if (!strcmp(mode, "store")) {
		store_marks(rounds, fd, slot);
	} else {
		for (i = 1; i <= rounds; i++) {
			prctl(MARK, 1UL, i, 0UL, 0UL);
			prctl(MARK, 2UL, i, 0UL, 0UL);
		}
	}
	return (double)(now_ns() - begin_ns) / rounds / 2;
}

static void *sleep_attached(void *data)
{
	attach(NULL);
	pthread_barrier_wait(data);
	pause();
	return NULL;
}

static int hold(unsigned long threads)
{
	pthread_barrier_t attached;
	pthread_t thread;
	unsigned long i;

	pthread_barrier_init(&attached, NULL, threads + 1);
	for (i = 0; i < threads; i++)
		if (pthread_create(&thread, NULL, sleep_attached, &attached))
			die("pthread_create");
	pthread_barrier_wait(&attached);
	printf("held\n");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;

	if (count && !strcmp(argv[1], "hold"))
		return hold(count);
	if (count && argc > 3 && !strcmp(argv[1], "pipe"))
		return printf("%f\n", wakeups(pipe, count, argv[3])) < 0;
	if (count && argc > 3 && !strcmp(argv[1], "packet"))
		return printf("%f\n", wakeups(loopback, count, argv[3])) < 0;
	if (count && argc > 3 && !strcmp(argv[1], "mark"))
		return printf("%f\n", marks(count, argv[3])) < 0;
	fprintf(stderr, "kmod_loop: see the comment at the top of its source\n");
	return 2;
}
