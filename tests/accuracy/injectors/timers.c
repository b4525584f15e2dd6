/* SPDX-License-Identifier: GPL-2.0-only */
/* Thousands of timers that expire at once on the subject's CPU: one long hard interrupt. */
#include "scene.h"

#include <sys/resource.h>
#include <sys/timerfd.h>

#define TIMERS 19000
#define GUESS_NS 100
#define GAP_NS (100 * NS_PER_US)

static int timers[TIMERS];

static void arm(int timer, uint64_t at_ns)
{
	struct itimerspec at = { .it_value = { at_ns / 1000000000ULL, at_ns % 1000000000ULL } };

	if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL))
		die("timerfd_settime");
}

/* A timer queues on the CPU that arms it (hrtimer.c, switch_hrtimer_base, while not idle). */
static void arm_all(struct scene *scene, struct line *line)
{
	uint64_t count = line->size_ns / GUESS_NS;

	(void)scene;
	if (count > TIMERS)
		count = TIMERS;
	for (uint64_t index = 0; index < count; index++)
		arm(timers[index], line->at_ns);
}

static void start(struct scene *scene)
{
	struct rlimit files = { TIMERS + 1000, TIMERS + 1000 };

	if (setrlimit(RLIMIT_NOFILE, &files))
		die("setrlimit");
	for (int index = 0; index < TIMERS; index++) {
		timers[index] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
		if (timers[index] < 0)
			die("timerfd_create");
	}
	inject(scene, 0, "at-timers", scene->cpu, PARTNER_PRIORITY, arm_all);
}

/* Arming takes about ten times as long as expiring. */
static void before(struct scene *scene, struct turn *turn)
{
	turn->at_ns = now_ns() + 15 * turn->size_ns + 10 * scene->lead_ns;
	turn->comm = "-";
	order(&scene->lines[0], turn->at_ns, turn->size_ns);
	await(&scene->lines[0]);
	sleep_until(turn->at_ns - scene->lead_ns);
	spin_until(turn->at_ns - scene->lead_ns / 4);
}

static void during(struct scene *scene, struct turn *turn)
{
	turn->late = now_ns() >= turn->at_ns;
	while (turn->gap_ns < GAP_NS && now_ns() < turn->at_ns + scene->lead_ns)
		turn->gap_ns = spin_until(now_ns() + 20 * NS_PER_US);
}

static void after(struct scene *scene, struct turn *turn)
{
	(void)scene;
	turn->truth_ns = turn->gap_ns;
}

const struct kind hardirq = { "hardirq", 0, start, before, during, after };
