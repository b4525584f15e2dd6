/* SPDX-License-Identifier: GPL-2.0-only */
/* An ordinary task of more weight that competes for the subject's CPU. */
#include "scene.h"

#include <sys/resource.h>

#define SUBJECT_NICE -12
#define RIVAL_NICE -20
#define LIMIT_NS (400 * NS_PER_MS)

static void compete(struct scene *scene, struct line *line)
{
	uint64_t begin = now_ns();

	(void)scene;
	setpriority(PRIO_PROCESS, 0, RIVAL_NICE);
	while (!line->stop && now_ns() - begin < LIMIT_NS)
		;
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

static void after(struct scene *scene, struct turn *turn)
{
	await(&scene->lines[0]);
	turn->truth_ns = turn->delay_ns;
	turn->check_ns = turn->gap_ns;
}

const struct kind rival = { "rival", 1, start, before, during, after };
