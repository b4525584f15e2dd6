/* SPDX-License-Identifier: GPL-2.0-only */
/* What a step spends by itself: a long parse, a sleep. */
#include "scene.h"

static char text[1 << 16];
static volatile uint64_t sum;

static void start(struct scene *scene)
{
	(void)scene;
	for (size_t index = 0; index + 16 < sizeof(text); index += 16)
		memcpy(text + index, "{\"value\":31415},", 16);
}

static void nothing(struct scene *scene, struct turn *turn)
{
	(void)scene;
	turn->comm = "-";
}

/* Reads the numbers of a text, over and over. */
static void read_numbers(void)
{
	for (const char *at = text; (at = strchr(at, ':')); at++)
		sum += strtoul(at + 1, NULL, 10);
}

static void parse_long(struct scene *scene, struct turn *turn)
{
	uint64_t begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	(void)scene;
	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin < turn->size_ns)
		read_numbers();
}

static void after_parse(struct scene *scene, struct turn *turn)
{
	(void)scene;
	turn->truth_ns = turn->cpu_ns;
}

const struct kind parse = { "parse", 0, start, nothing, parse_long, after_parse };

static void sleep_long(struct scene *scene, struct turn *turn)
{
	(void)scene;
	turn->at_ns = now_ns() + turn->size_ns;
	turn->truth_ns = turn->size_ns;
	sleep_until(turn->at_ns);
}

static void after_sleep(struct scene *scene, struct turn *turn)
{
	(void)scene;
	(void)turn;
}

static void no_start(struct scene *scene)
{
	(void)scene;
}

const struct kind sleeper = { "timer", 0, no_start, nothing, sleep_long, after_sleep };
