/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Datagrams to many sockets at once, steered to the subject's CPU by RPS: each costs softirq time
 * there. Few stay in interrupted context, many are left to ksoftirqd.
 */
#include "scene.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>

#define PORT 7703
#define BURST_SINKS 64
#define STEADY_SINKS 200
#define FILTER 1000
#define STEADY_NS (60000 * NS_PER_MS)
#define MOST_INLINE 60 /* weight of the backlog's poll is 64: net/core/hotdata.c, dev_rx_weight */

static int sender;
static struct sockaddr_in group;

static void open_netns(struct scene *scene)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_MULTICAST };
	char text[32];
	int fd;

	/* "/" may be no mount point (a chroot); /sys is one. */
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) ||
	    mount("", "/sys", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL))
		die("network namespace");
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo))
		die("lo");
	close(fd);
	snprintf(text, sizeof(text), "%x", 1 << scene->cpu);
	write_text("/sys/class/net/lo/queues/rx-0/rps_cpus", text);
}

/* A sink's filter runs its length for each datagram, then drops it. */
static void open_sink(void)
{
	static struct sock_filter code[FILTER];
	struct sock_fprog program = { FILTER, code };
	struct ip_mreq member = { .imr_multiaddr = group.sin_addr };
	int one = 1, fd = socket(AF_INET, SOCK_DGRAM, 0);

	for (int index = 0; index < FILTER - 1; index++)
		code[index] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 1);
	code[FILTER - 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
	member.imr_interface.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) ||
	    bind(fd, (struct sockaddr *)&group, sizeof(group)) ||
	    setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &member, sizeof(member)))
		die("sink");
}

static void open_all(struct scene *scene, int sinks)
{
	struct in_addr loopback = { htonl(INADDR_LOOPBACK) };

	group.sin_family = AF_INET;
	group.sin_port = htons(PORT);
	inet_pton(AF_INET, "239.1.1.1", &group.sin_addr);
	open_netns(scene);
	for (int index = 0; index < sinks; index++)
		open_sink();
	sender = socket(AF_INET, SOCK_DGRAM, 0);
	if (setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &loopback, sizeof(loopback)))
		die("IP_MULTICAST_IF");
}

static void send_one(void)
{
	sendto(sender, "x", 1, 0, (struct sockaddr *)&group, sizeof(group));
}

/* size_ns carries a number of datagrams. */
static void send_burst(struct scene *scene, struct line *line)
{
	if (!sender)
		open_all(scene, BURST_SINKS);
	for (uint64_t index = 0; index < line->size_ns; index++)
		send_one();
}

static void start_burst(struct scene *scene)
{
	inject(scene, 0, "at-flood", scene->other, 0, send_burst);
	order(&scene->lines[0], 0, 0);
	await(&scene->lines[0]);
}

static uint64_t datagram_ns(struct scene *scene, struct line *line)
{
	static uint64_t found;
	uint64_t gaps;

	if (found)
		return found;
	order(line, 0, 10);
	gaps = spin_while(&line->done, line->order, scene->lead_ns, 100 * NS_PER_MS);
	return found = gaps > 10000 ? gaps / 10 : 1000;
}

static void before_burst(struct scene *scene, struct turn *turn)
{
	uint64_t count = turn->size_ns / datagram_ns(scene, &scene->lines[0]) + 1;

	turn->at_ns = count < MOST_INLINE ? count : MOST_INLINE;
	turn->comm = "-";
}

static void take_burst(struct scene *scene, struct turn *turn)
{
	struct line *line = &scene->lines[0];

	order(line, 0, turn->at_ns);
	turn->gap_ns = spin_while(&line->done, line->order, 50 * NS_PER_US + scene->lead_ns / 25,
				  100 * NS_PER_MS);
}

static void after_burst(struct scene *scene, struct turn *turn)
{
	await(&scene->lines[0]);
	turn->truth_ns = turn->gap_ns;
}

const struct kind softirq = { "softirq", 0, start_burst, before_burst, take_burst, after_burst };

static int daemon_stat;
static pid_t daemon_pid;

/* CPU time that the subject's CPU's ksoftirqd has used. */
static uint64_t daemon_ns(void)
{
	uint64_t run = 0;
	char text[128] = "";

	if (pread(daemon_stat, text, sizeof(text) - 1, 0) <= 0 ||
	    sscanf(text, "%" SCNu64, &run) != 1)
		die("schedstat of ksoftirqd");
	return run;
}

static void find_daemon(int cpu)
{
	char wanted[32], path[64], comm[32] = "";

	snprintf(wanted, sizeof(wanted), "ksoftirqd/%d", cpu);
	for (daemon_pid = 2; strcmp(comm, wanted); daemon_pid++) {
		FILE *file;

		if (daemon_pid > 10000)
			die(wanted);
		snprintf(path, sizeof(path), "/proc/%d/comm", daemon_pid);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (fscanf(file, "%31s", comm) != 1)
			comm[0] = 0;
		fclose(file);
	}
	snprintf(path, sizeof(path), "/proc/%d/schedstat", --daemon_pid);
	daemon_stat = open(path, O_RDONLY);
}

static void send_steadily(struct scene *scene, struct line *line)
{
	uint64_t end = now_ns() + STEADY_NS;

	if (!sender)
		open_all(scene, STEADY_SINKS);
	while (line->size_ns && !line->stop && now_ns() < end)
		send_one();
}

static void start_steady(struct scene *scene)
{
	find_daemon(scene->cpu);
	inject(scene, 0, "at-flood", scene->other, 0, send_steadily);
	order(&scene->lines[0], 0, 0);
	await(&scene->lines[0]);
	order(&scene->lines[0], 0, 1);
	sleep_for(100 * NS_PER_MS);
}

static void before_steady(struct scene *scene, struct turn *turn)
{
	static char comm[32];

	snprintf(comm, sizeof(comm), "ksoftirqd/%d", scene->cpu);
	turn->comm = comm;
	turn->culprit = daemon_pid;
	turn->check_ns = daemon_ns();
}

static void wake_beside_daemon(struct scene *scene, struct turn *turn)
{
	uint64_t wake = now_ns() + scene->lead_ns / 4;

	sleep_until(wake);
	turn->gap_ns = now_ns() - wake;
}

/*
 * What the sleep overran. Not the schedstat: its clock may be older than the switch, by
 * rq_clock_skip_update() in wakeup_preempt() (kernel/sched/core.c).
 */
static void after_steady(struct scene *scene, struct turn *turn)
{
	(void)scene;
	turn->truth_ns = turn->gap_ns;
	turn->check_ns = daemon_ns() - turn->check_ns;
	turn->late = turn->check_ns * 10 < turn->truth_ns * 7;
}

const struct kind ksoftirqd = { "ksoftirqd", 0, start_steady, before_steady,
				wake_beside_daemon, after_steady };
