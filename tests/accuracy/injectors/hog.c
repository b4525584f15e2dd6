/* SPDX-License-Identifier: GPL-2.0-only */
/* A real-time task that takes the subject's CPU: before it wakes, while it runs, until it moves. */
#include "scene.h"

#define PRIORITY 50

/* The hog has the CPU for this long when the subject wakes. */
static uint64_t edge_ns(const struct scene *scene)
{
	return scene->lead_ns / 10;
}

static void hold_cpu(struct scene *scene, struct line *line)
{
	(void)scene;
	sleep_until(line->at_ns);
	line->begin_ns = now_ns();
	while ((line->end_ns = now_ns()) < line->at_ns + line->size_ns)
		;
}

static void start(struct scene *scene)
{
	inject(scene, 0, "at-hog", scene->cpu, PRIORITY, hold_cpu);
}

static void before(struct scene *scene, struct turn *turn)
{
	turn->at_ns = now_ns() + scene->lead_ns;
	turn->culprit = scene->lines[0].pid;
	turn->comm = "at-hog";
	order(&scene->lines[0], turn->at_ns, turn->size_ns);
	spin_until(turn->at_ns - scene->lead_ns / 4);
}

static void wake_late(struct scene *scene, struct turn *turn)
{
	turn->late = now_ns() >= turn->at_ns;
	sleep_until(turn->at_ns + edge_ns(scene));
}

static void after_hog(struct scene *scene, struct turn *turn)
{
	await(&scene->lines[0]);
	turn->truth_ns = scene->lines[0].end_ns - turn->at_ns - edge_ns(scene);
}

const struct kind hog = { "hog", 0, start, before, wake_late, after_hog };

static void be_preempted(struct scene *scene, struct turn *turn)
{
	struct line *line = &scene->lines[0];

	turn->late = now_ns() >= turn->at_ns;
	turn->gap_ns = spin_while(&line->done, line->order, 0, 100 * NS_PER_MS);
}

static void after_preempt(struct scene *scene, struct turn *turn)
{
	await(&scene->lines[0]);
	turn->truth_ns = scene->lines[0].end_ns - scene->lines[0].begin_ns;
	turn->check_ns = turn->gap_ns;
}

const struct kind preempt = { "preempt", 0, start, before, be_preempted, after_preempt };

/* Moves the subject off the CPU that the hog keeps for a while longer. */
static void move_subject(struct scene *scene, struct line *line)
{
	sleep_until(line->at_ns + line->size_ns);
	line->end_ns = now_ns();
	pin(getppid(), scene->other);
}

static void start_migrate(struct scene *scene)
{
	start(scene);
	inject(scene, 1, "at-mover", scene->other, PRIORITY, move_subject);
}

static void before_migrate(struct scene *scene, struct turn *turn)
{
	turn->at_ns = now_ns() + 2 * scene->lead_ns;
	turn->culprit = scene->lines[0].pid;
	turn->comm = "at-hog";
	order(&scene->lines[1], turn->at_ns, turn->size_ns);
	order(&scene->lines[0], turn->at_ns, turn->size_ns + 2 * scene->lead_ns + NS_PER_MS);
	spin_until(turn->at_ns - scene->lead_ns / 4);
}

static void after_migrate(struct scene *scene, struct turn *turn)
{
	await(&scene->lines[0]);
	await(&scene->lines[1]);
	turn->late |= scene->lines[1].end_ns >= scene->lines[0].end_ns;
	turn->truth_ns = scene->lines[1].end_ns - turn->at_ns - edge_ns(scene);
	pin(0, scene->cpu);
}

const struct kind migrate = { "migrate", 0, start_migrate, before_migrate, wake_late, after_migrate };
