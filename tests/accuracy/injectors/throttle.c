/* SPDX-License-Identifier: GPL-2.0-only */
/* A cgroup's cpu.max that runs out while the subject computes. */
#include "scene.h"

#include <inttypes.h>
#include <sys/stat.h>

#define QUOTA_NS (2 * NS_PER_MS)
#define LIMIT_NS (200 * NS_PER_MS)

static char directory[200];
static int version;

static const char *file(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

/* Time that the group stood still: cgroup v1 counts ns, v2 us. */
static uint64_t throttled_ns(void)
{
	uint64_t value = 0, found = 0;
	char name[64];
	FILE *stat = fopen(file("cpu.stat"), "r");

	if (!stat)
		die("cpu.stat");
	while (fscanf(stat, "%63s %" SCNu64, name, &value) == 2) {
		if (!strcmp(name, "throttled_time"))
			found = value;
		if (!strcmp(name, "throttled_usec"))
			found = value * NS_PER_US;
	}
	fclose(stat);
	return found;
}

static void set_quota(uint64_t quota_ns, uint64_t period_ns)
{
	char text[64];

	if (version == 2) {
		snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64, quota_ns / NS_PER_US,
			 period_ns / NS_PER_US);
		write_text(file("cpu.max"), text);
		return;
	}
	snprintf(text, sizeof(text), "%" PRIu64, period_ns / NS_PER_US);
	write_text(file("cpu.cfs_period_us"), text);
	snprintf(text, sizeof(text), "%" PRIu64, quota_ns / NS_PER_US);
	write_text(file("cpu.cfs_quota_us"), text);
}

static void start(struct scene *scene)
{
	struct stat found;
	char text[32];

	snprintf(directory, sizeof(directory), "%s", scene->place);
	version = stat(file("cpu.max"), &found) ? 1 : 2;
	write_text(file(version == 2 ? "cpu.weight" : "cpu.shares"),
		   version == 2 ? "10000" : "262144");
	snprintf(text, sizeof(text), "%d", getpid());
	write_text(file("cgroup.procs"), text);
}

/* Computes until it stood still for most of the period; returns for how long. */
static uint64_t be_throttled(uint64_t size_ns)
{
	uint64_t begin = now_ns(), gap = 0;

	while (gap < size_ns / 2 && now_ns() - begin < LIMIT_NS)
		gap = spin_until(now_ns() + 20 * NS_PER_US);
	return gap;
}

/* What an earlier period left over is used up before the step begins. */
static void before(struct scene *scene, struct turn *turn)
{
	(void)scene;
	set_quota(QUOTA_NS, turn->size_ns + QUOTA_NS);
	be_throttled(turn->size_ns);
	turn->check_ns = throttled_ns();
	turn->comm = "-";
}

static void during(struct scene *scene, struct turn *turn)
{
	(void)scene;
	turn->gap_ns = be_throttled(turn->size_ns);
}

static void after(struct scene *scene, struct turn *turn)
{
	(void)scene;
	if (version == 2)
		write_text(file("cpu.max"), "max");
	else
		write_text(file("cpu.cfs_quota_us"), "-1");
	turn->truth_ns = turn->gap_ns;
	turn->check_ns = throttled_ns() - turn->check_ns;
	turn->late = !turn->check_ns;
}

const struct kind throttle = { "throttle", 1, start, before, during, after };
