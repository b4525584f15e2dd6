/* SPDX-License-Identifier: GPL-2.0-only */
/* Partners that let the subject wait: behind a socket, a pipe, a lock, as a child. */
#include "scene.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int server, client, epoll;

/* Answers after a time it knows. */
static void answer(struct scene *scene, struct line *line)
{
	char byte;

	(void)scene;
	if (read(server, &byte, 1) != 1)
		die("server");
	line->begin_ns = now_ns();
	sleep_until(line->begin_ns + line->size_ns);
	line->end_ns = now_ns();
	if (write(server, &byte, 1) != 1)
		die("server");
}

static void connect_pair(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	client = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length) ||
	    connect(client, (struct sockaddr *)&address, length))
		die("connect");
	server = accept(listener, NULL, NULL);
	close(listener);
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void start_peer(struct scene *scene)
{
	struct epoll_event event = { .events = EPOLLIN };

	connect_pair();
	epoll = epoll_create1(0);
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, client, &event))
		die("epoll");
	inject(scene, 0, "at-peer", scene->other, PARTNER_PRIORITY, answer);
}

static void before_partner(struct scene *scene, struct turn *turn, const char *comm)
{
	turn->culprit = scene->lines[0].pid;
	turn->comm = comm;
	order(&scene->lines[0], 0, turn->size_ns);
	sleep_for(scene->lead_ns);
}

static void before_peer(struct scene *scene, struct turn *turn)
{
	before_partner(scene, turn, "at-peer");
}

/* In turn by a blocking read and by epoll, as event loops do. */
static void ask(struct scene *scene, struct turn *turn)
{
	struct epoll_event event;
	char byte = 0;

	(void)scene;
	if (write(client, &byte, 1) != 1)
		die("client");
	turn->at_ns = now_ns();
	if (turn->id % 2 && epoll_wait(epoll, &event, 1, -1) != 1)
		die("epoll_wait");
	if (read(client, &byte, 1) != 1)
		die("client");
}

static void after_partner(struct scene *scene, struct turn *turn)
{
	await(&scene->lines[0]);
	turn->truth_ns = scene->lines[0].end_ns - turn->at_ns;
}

const struct kind peer = { "peer", 0, start_peer, before_peer, ask, after_partner };

static int ends[2];

static void write_late(struct scene *scene, struct line *line)
{
	(void)scene;
	sleep_for(line->size_ns);
	line->end_ns = now_ns();
	if (write(ends[1], "", 1) != 1)
		die("pipe");
}

static void start_pipe(struct scene *scene)
{
	if (pipe(ends))
		die("pipe");
	inject(scene, 0, "at-partner", scene->other, PARTNER_PRIORITY, write_late);
}

static void before_pipe(struct scene *scene, struct turn *turn)
{
	turn->culprit = scene->lines[0].pid;
	turn->comm = "at-partner";
	order(&scene->lines[0], 0, turn->size_ns);
}

static void read_pipe(struct scene *scene, struct turn *turn)
{
	char byte;

	(void)scene;
	turn->at_ns = now_ns();
	if (read(ends[0], &byte, 1) != 1)
		die("pipe");
}

const struct kind partner = { "pipe", 0, start_pipe, before_pipe, read_pipe, after_partner };

/* Holds the lock that the subject wants. */
static void hold_lock(struct scene *scene, struct line *line)
{
	(void)scene;
	sleep_for(line->size_ns);
	line->end_ns = now_ns();
	line->lock = 0;
	futex_wake(&line->lock);
}

static void start_holder(struct scene *scene)
{
	inject(scene, 0, "at-holder", scene->other, PARTNER_PRIORITY, hold_lock);
}

static void before_holder(struct scene *scene, struct turn *turn)
{
	turn->culprit = scene->lines[0].pid;
	turn->comm = "at-holder";
	scene->lines[0].lock = 1;
	order(&scene->lines[0], 0, turn->size_ns);
}

static void take_lock(struct scene *scene, struct turn *turn)
{
	turn->at_ns = now_ns();
	while (scene->lines[0].lock)
		futex_wait(&scene->lines[0].lock, 1);
}

const struct kind holder = { "futex", 0, start_holder, before_holder, take_lock, after_partner };

#define STACK (64 << 10)

struct birth {
	struct scene *scene;
	uint64_t size_ns;
};

static int live(void *argument)
{
	struct birth *birth = argument;

	name_self("at-child");
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	pin(0, birth->scene->other);
	sleep_for(birth->size_ns);
	birth->scene->lines[0].end_ns = now_ns();
	return 0;
}

static void start_child(struct scene *scene)
{
	(void)scene;
}

static void before_child(struct scene *scene, struct turn *turn)
{
	(void)scene;
	turn->comm = "at-child";
}

/* The child shares the memory, so that its end is its exit and not the freeing of a copy. */
static void run_child(struct scene *scene, struct turn *turn)
{
	static char stack[STACK] __attribute__((aligned(16)));
	struct birth birth = { scene, turn->size_ns };

	turn->culprit = clone(live, stack + STACK, CLONE_VM | SIGCHLD, &birth);
	turn->at_ns = now_ns();
	if (turn->culprit < 0 || waitpid(turn->culprit, NULL, 0) != turn->culprit)
		die("child");
}

static void after_child(struct scene *scene, struct turn *turn)
{
	turn->truth_ns = scene->lines[0].end_ns - turn->at_ns;
}

const struct kind child = { "child", 0, start_child, before_child, run_child, after_child };
