/* SPDX-License-Identifier: GPL-2.0-only */
/* Clocks, spinning, and processes that carry out orders. */
#include "scene.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

uint64_t least_gap_ns = 3000;

void die(const char *what)
{
	perror(what);
	exit(1);
}

uint64_t clock_ns(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

void sleep_until(uint64_t at_ns)
{
	struct timespec at = { at_ns / 1000000000ULL, at_ns % 1000000000ULL };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
		;
}

void sleep_for(uint64_t ns)
{
	sleep_until(now_ns() + ns);
}

void pin(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(pid, sizeof(set), &set))
		die("sched_setaffinity");
}

void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

uint64_t spin_until(uint64_t until_ns)
{
	uint64_t last = now_ns(), gaps = 0;

	while (last < until_ns) {
		uint64_t now = now_ns();

		if (now - last > least_gap_ns)
			gaps += now - last;
		last = now;
	}
	return gaps;
}

uint64_t spin_while(_Atomic uint32_t *done, uint32_t value, uint64_t quiet_ns, uint64_t limit_ns)
{
	uint64_t begin = now_ns(), last = begin, quiet = begin, gaps = 0;

	for (;;) {
		int over = *done == value;
		uint64_t now = now_ns();

		if (now - last > least_gap_ns) {
			gaps += now - last;
			quiet = now;
		}
		last = now;
		if ((over && now - quiet >= quiet_ns) || now - begin >= limit_ns)
			return gaps;
	}
}

void name_self(const char *comm)
{
	prctl(PR_SET_NAME, comm, 0, 0, 0);
}

void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void carry_out(struct scene *scene, struct line *line,
		      void (*body)(struct scene *scene, struct line *line))
{
	uint32_t seen = 0;

	for (;;) {
		while (line->order == seen)
			futex_wait(&line->order, seen);
		seen = line->order;
		body(scene, line);
		line->done = seen;
		futex_wake(&line->done);
	}
}

void inject(struct scene *scene, int index, const char *comm, int cpu, int realtime,
	    void (*body)(struct scene *scene, struct line *line))
{
	struct sched_param param = { .sched_priority = realtime };
	struct line *line = &scene->lines[index];
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		die("fork");
	if (pid) {
		line->pid = pid;
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	if (getppid() != parent)
		_exit(1);
	name_self(comm);
	pin(0, cpu);
	if (sched_setscheduler(0, realtime ? SCHED_FIFO : SCHED_OTHER, &param))
		die("sched_setscheduler");
	carry_out(scene, line, body);
}

uint32_t order(struct line *line, uint64_t at_ns, uint64_t size_ns)
{
	line->at_ns = at_ns;
	line->size_ns = size_ns;
	line->stop = 0;
	line->order++;
	futex_wake(&line->order);
	return line->order;
}

void await(struct line *line)
{
	uint32_t done;

	while ((done = line->done) != line->order)
		futex_wait(&line->done, done);
}
