/* SPDX-License-Identifier: GPL-2.0-only */
/* What a step spends by itself: a long parse, a sleep. */
#include "scene.h"

static char text[1 << 12];
static volatile uint64_t sum;
static uint64_t best_ns;

static void read_numbers(void)
{
	for (const char *at = text; (at = strchr(at, ':')); at++)
		sum += strtoul(at + 1, NULL, 10);
}

/* Reads the numbers until then; returns the time of the passes that nothing interrupted. */
static uint64_t read_until(uint64_t until_ns)
{
	uint64_t last = now_ns(), spent = 0;

	while (last < until_ns) {
		uint64_t now, took;

		read_numbers();
		now = now_ns();
		took = now - last;
		best_ns = took < best_ns ? took : best_ns;
		spent += took < best_ns + best_ns / 2 + least_gap_ns ? took : best_ns;
		last = now;
	}
	return spent;
}

static void start(struct scene *scene)
{
	(void)scene;
	for (size_t index = 0; index + 16 < sizeof(text); index += 16)
		memcpy(text + index, "{\"value\":31415},", 16);
	best_ns = UINT64_MAX;
	read_until(now_ns() + 10 * NS_PER_MS);
}

static void nothing(struct scene *scene, struct turn *turn)
{
	(void)scene;
	turn->comm = "-";
}

static void parse_long(struct scene *scene, struct turn *turn)
{
	(void)scene;
	turn->truth_ns = read_until(now_ns() + turn->size_ns);
}

static void after_parse(struct scene *scene, struct turn *turn)
{
	(void)scene;
	turn->check_ns = turn->cpu_ns;
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
