/* SPDX-License-Identifier: GPL-2.0-only */
/* An ordinary task of more weight that competes for the subject's CPU. */
#include "scene.h"

#include <sys/resource.h>

#define SUBJECT_NICE -12
#define RIVAL_NICE -20
#define LIMIT_NS (400 * NS_PER_MS)

static void compete(struct scene *scene, struct line *line)
{
	uint64_t begin = now_ns(), used = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	(void)scene;
	setpriority(PRIO_PROCESS, 0, RIVAL_NICE);
	while (!line->stop && now_ns() - begin < LIMIT_NS)
		;
	line->end_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - used;
}

static void start(struct scene *scene)
{
	inject(scene, 0, "at-rival", scene->cpu, 0, compete);
	setpriority(PRIO_PROCESS, 0, SUBJECT_NICE);
}

static void before(struct scene *scene, struct turn *turn)
{
	turn->culprit = scene->lines[0].pid;
	turn->comm = "at-rival";
	order(&scene->lines[0], 0, 0);
}

/* Computes until the time it was kept from the CPU adds up. */
static void during(struct scene *scene, struct turn *turn)
{
	uint64_t begin = now_ns(), gaps = 0;

	while (gaps < turn->size_ns && now_ns() - begin < LIMIT_NS)
		gaps += spin_until(now_ns() + 20 * NS_PER_US);
	scene->lines[0].stop = 1;
	turn->gap_ns = gaps;
}

/* Left out where others had the CPU too. */
static void after(struct scene *scene, struct turn *turn)
{
	await(&scene->lines[0]);
	turn->truth_ns = turn->delay_ns;
	turn->check_ns = scene->lines[0].end_ns;
	turn->late = turn->check_ns * 10 < turn->delay_ns * 9;
}

const struct kind rival = { "rival", 1, start, before, during, after };
