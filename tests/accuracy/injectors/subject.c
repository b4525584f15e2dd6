/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An agent whose every step meets a delay of known cause.
 * Usage: subject KIND CPU OTHER LEAD_US PLACE PLAN OUT. A line of PLAN is 'id size_ns'.
 */
#include "scene.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define MARK 0x41475354
#define BEGIN 1
#define END 2
#define TOOL (1 << 8)
#define PRIORITY 10
#define QUIET_NS (200 * NS_PER_US)

static const struct kind *const kinds[] = {
	&hog, &preempt, &migrate, &rival, &throttle, &softirq, &ksoftirqd, &hardirq, &disk,
	&fault, &userfault, &peer, &child, &holder, &sleeper, &parse, &partner,
};

static const struct kind *kind_of(const char *name)
{
	for (size_t index = 0; index < sizeof(kinds) / sizeof(*kinds); index++)
		if (!strcmp(kinds[index]->name, name))
			return kinds[index];
	fprintf(stderr, "no such kind: %s\n", name);
	exit(2);
}

static uint64_t run_delay_ns(int fd)
{
	uint64_t run, delay;
	char text[128];
	ssize_t size = pread(fd, text, sizeof(text) - 1, 0);

	if (size <= 0)
		die("schedstat");
	text[size] = 0;
	if (sscanf(text, "%" SCNu64 " %" SCNu64, &run, &delay) != 2)
		die("schedstat");
	return delay;
}

static void be_quiet(struct turn *turn)
{
	uint64_t begin = now_ns();

	turn->gap_ns = spin_until(begin + QUIET_NS);
	turn->truth_ns = now_ns() - begin - turn->gap_ns;
}

static void take(const struct kind *kind, struct scene *scene, struct turn *turn, int schedstat)
{
	uint64_t delay, cpu;

	if (turn->size_ns)
		kind->before(scene, turn);
	delay = run_delay_ns(schedstat);
	cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	turn->begin_ns = now_ns();
	prctl(MARK, BEGIN | TOOL | (uint64_t)(uintptr_t)kind->name << 16, turn->id, 0, 0);
	if (turn->size_ns)
		kind->during(scene, turn);
	else
		be_quiet(turn);
	prctl(MARK, END, turn->id, 0, 0);
	turn->end_ns = now_ns();
	turn->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
	turn->delay_ns = run_delay_ns(schedstat) - delay;
	if (turn->size_ns)
		kind->after(scene, turn);
}

static void print_turn(FILE *out, const struct turn *turn)
{
	fprintf(out, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, turn->id, turn->size_ns,
		turn->begin_ns, turn->end_ns);
	fprintf(out, " %" PRIu64 " %" PRIu64 " %" PRIu64, turn->truth_ns, turn->check_ns,
		turn->cpu_ns);
	fprintf(out, " %" PRIu64 " %" PRIu64 " %d %d %s\n", turn->delay_ns, turn->gap_ns,
		turn->late, turn->culprit, turn->comm ? turn->comm : "-");
}

/* Above what else this machine does; its session's autogroup (sched(7)) too. */
static void rise(const struct kind *kind)
{
	struct sched_param param = { .sched_priority = PRIORITY };

	if (!kind->fair && sched_setscheduler(0, SCHED_FIFO, &param))
		die("sched_setscheduler");
	if (!kind->fair)
		return;
	setsid();
	if (setpriority(PRIO_PROCESS, 0, -20))
		die("setpriority");
	if (!access("/proc/self/autogroup", W_OK))
		write_text("/proc/self/autogroup", "-20");
}

static void end_injectors(struct scene *scene)
{
	for (int index = 0; index < LINES; index++)
		if (scene->lines[index].pid)
			kill(scene->lines[index].pid, SIGKILL);
	while (wait(NULL) > 0)
		;
}

int main(int argc, char **argv)
{
	static struct turn turns[4096];
	const struct kind *kind;
	struct scene scene;
	size_t count = 0;
	FILE *plan, *out;
	int schedstat;

	if (argc != 8)
		return 2;
	kind = kind_of(argv[1]);
	scene.cpu = atoi(argv[2]);
	scene.other = atoi(argv[3]);
	scene.lead_ns = atoi(argv[4]) * NS_PER_US;
	least_gap_ns = 2600 + scene.lead_ns / 500;
	scene.place = argv[5];
	scene.lines = mmap(NULL, LINES * sizeof(*scene.lines), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	plan = fopen(argv[6], "r");
	out = fopen(argv[7], "w");
	schedstat = open("/proc/self/schedstat", O_RDONLY);
	if (scene.lines == MAP_FAILED || !plan || !out || schedstat < 0)
		die("subject");
	while (count < sizeof(turns) / sizeof(*turns) &&
	       fscanf(plan, "%" SCNu64 " %" SCNu64, &turns[count].id, &turns[count].size_ns) == 2)
		count++;
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	pin(0, scene.cpu);
	rise(kind);
	kind->start(&scene);
	/* Not before: the injectors are no agents. */
	name_self("at-subject");
	for (size_t index = 0; index < count; index++) {
		sleep_for(scene.lead_ns);
		take(kind, &scene, &turns[index], schedstat);
	}
	end_injectors(&scene);
	for (size_t index = 0; index < count; index++)
		print_turn(out, &turns[index]);
	return fclose(out) ? 1 : 0;
}
