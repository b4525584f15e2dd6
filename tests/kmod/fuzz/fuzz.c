// SPDX-License-Identifier: GPL-2.0-only
/*
 * A fuzzer of /dev/agent_latency: processes and threads that do right, wrong and random things with
 * it at once, and are killed at random.
 *
 *     fuzz [--seed N] [--seconds N] [--workers N] [--nobody]
 *
 * It runs in a pid namespace of its own, so that nothing outlives it. All choices come from the
 * seed, which it prints; what the scheduler makes of them does not. It prints what it did, and
 * exits with 0: the kernel's log is the judge.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

#define DEEPEST 3
#define THREADS_MOST 6
#define NOBODY 65534
#define WORKERS_MOST 64

volatile uint64_t *counts;

/* Of this process, beside its first. */
static int threads;

static const char *const count_names[COUNTS] = {
	"opened", "attached", "detached", "refused", "informed", "mapped", "map_refused", "stored",
	"marked", "passed", "received", "forked", "execed", "threads", "killed", "faulted", "read",
	"transferred"
};

static __thread sigjmp_buf back;
static __thread volatile sig_atomic_t inside;

static void fault(int signal)
{
	if (inside)
		siglongjmp(back, signal);
	_exit(signal);
}

static void catch_faults(void)
{
	struct sigaction action = { .sa_handler = fault, .sa_flags = SA_NODEFER };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

void guarded(void (*run)(struct worker *w, void *data), struct worker *w, void *data)
{
	if (sigsetjmp(back, 1)) {
		tell(FAULTED);
	} else {
		inside = 1;
		run(w, data);
	}
	inside = 0;
}

static struct worker *new_worker(uint64_t seed, unsigned int depth)
{
	struct worker *w = calloc(1, sizeof(*w));
	unsigned int i;

	if (!w)
		_exit(1);
	w->random = (seed + 1) * 0x9e3779b97f4a7c15ULL | 1;
	w->depth = depth;
	w->agent_fd = -1;
	for (i = 0; i < FDS; i++)
		w->fds[i] = -1;
	w->pages = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (w->pages == MAP_FAILED)
		_exit(1);
	mprotect(w->pages + 4096, 4096, PROT_READ);
	mprotect(w->pages + 8192, 4096, PROT_NONE);
	return w;
}

void do_pass(struct worker *w)
{
	char control[CMSG_SPACE(sizeof(int))] = "", byte = 0;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int fd = any_fd(w);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	if (sendmsg(PASS_FD, &message, MSG_DONTWAIT) > 0)
		tell(PASSED);
}

void do_receive(struct worker *w)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header;
	int fd;

	if (recvmsg(RECEIVE_FD, &message, MSG_DONTWAIT) <= 0)
		return;
	header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_type != SCM_RIGHTS)
		return;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	tell(RECEIVED);
	close(w->fds[0]);
	w->fds[0] = fd;
}

static void become_another(struct worker *w)
{
	char seed[32], depth[16];

	snprintf(seed, sizeof(seed), "%llu", (unsigned long long)any(w) >> 1);
	snprintf(depth, sizeof(depth), "%u", w->depth + 1);
	execl("/proc/self/exe", "fuzz", "--seed", seed, "--depth", depth, NULL);
}

/* Goes on as another program: attached threads and mappings are gone, files may be there. */
void do_exec(struct worker *w)
{
	if (w->depth >= DEEPEST)
		return;
	tell(EXECED);
	become_another(w);
}

static pid_t start_child(struct worker *w)
{
	pid_t child;

	if (chance(w, 10)) {
		child = vfork();
		if (!child) {
			become_another(w);
			_exit(0);
		}
		return child;
	}
	child = fork();
	if (!child) {
		if (chance(w, 30))
			_exit(0);
		threads = 0;
		w->random ^= (uint64_t)getpid() << 32;
		w->depth++;
		live(w, below(w, 40));
		_exit(0);
	}
	return child;
}

/* A child has its parent's files, but not the page. */
void do_fork(struct worker *w)
{
	pid_t child = w->depth < DEEPEST ? start_child(w) : -1;

	if (child > 0) {
		tell(FORKED);
		if (chance(w, 40) && !kill(child, SIGKILL))
			tell(KILLED);
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static void *thread(void *data)
{
	struct worker *mine = data;

	live(mine, below(mine, 60));
	free(mine);
	__atomic_fetch_sub(&threads, 1, __ATOMIC_RELAXED);
	return NULL;
}

void do_thread(struct worker *w)
{
	struct worker *other;
	pthread_t made;

	if (threads >= THREADS_MOST)
		return;
	other = malloc(sizeof(*other));
	if (!other)
		return;
	*other = *w;
	other->random = any(w) | 1;
	__atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED);
	if (pthread_create(&made, NULL, thread, other)) {
		__atomic_fetch_sub(&threads, 1, __ATOMIC_RELAXED);
		free(other);
		return;
	}
	pthread_detach(made);
	tell(THREADS);
}

static const struct {
	void (*run)(struct worker *w);
	unsigned int weight;
} deeds[] = {
	{ do_open, 8 }, { do_close, 4 }, { do_ioctl, 30 }, { do_wild_ioctl, 10 }, { do_map, 10 },
	{ do_unmap, 4 }, { do_protect, 3 }, { do_remap, 3 }, { do_advise, 4 }, { do_store, 8 },
	{ do_slot_step, 12 }, { do_mark, 20 }, { do_wild_mark, 6 }, { do_socket, 6 },
	{ do_block, 4 }, { do_sleep, 8 }, { do_migrate, 3 }, { do_pass, 4 }, { do_receive, 4 },
	{ do_fork, 5 }, { do_thread, 4 }, { do_exec, 1 }, { do_read, 2 }, { do_sysctl, 2 },
};

void live(struct worker *w, unsigned int steps)
{
	unsigned int i, total = 0, place;

	for (i = 0; i < sizeof(deeds) / sizeof(*deeds); i++)
		total += deeds[i].weight;
	while (steps--) {
		place = below(w, total);
		for (i = 0; place >= deeds[i].weight; i++)
			place -= deeds[i].weight;
		deeds[i].run(w);
	}
}

static void become_nobody(void)
{
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		_exit(1);
}

static pid_t start_worker(uint64_t seed)
{
	pid_t child = fork();

	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	live(new_worker(seed, 0), 100000);
	_exit(0);
}

/* Faults are a matter of luck, and what there is to read is root's. */
static int all_was_done(void)
{
	unsigned int i;

	for (i = 0; i < COUNTS; i++)
		if (!counts[i] && i != FAULTED && i != READ)
			return 0;
	return 1;
}

/*
 * The init of the namespace: keeps workers alive, kills some, and takes all along at the end. On a
 * slow machine it goes on, four times as long at most, until everything was done once.
 */
static void manage(uint64_t seed, unsigned int seconds, unsigned int workers)
{
	struct worker *mine = new_worker(seed, 0);
	struct timespec pause = { .tv_nsec = 50000000 };
	time_t end = time(NULL) + seconds, last = end + 3 * seconds;
	pid_t of[WORKERS_MOST] = {}, ended;
	unsigned int i;

	while (time(NULL) < end || (time(NULL) < last && !all_was_done())) {
		for (i = 0; i < workers; i++)
			if (!of[i])
				of[i] = start_worker(any(mine));
		nanosleep(&pause, NULL);
		i = below(mine, workers);
		if (chance(mine, 30) && of[i] > 0 && !kill(of[i], SIGKILL))
			tell(KILLED);
		while ((ended = waitpid(-1, NULL, WNOHANG)) > 0)
			for (i = 0; i < workers; i++)
				if (of[i] == ended)
					of[i] = 0;
	}
	_exit(0);
}

static void share_what_processes_share(void)
{
	int pair[2];

	counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED || socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) ||
	    dup2(pair[0], PASS_FD) < 0 || dup2(pair[1], RECEIVE_FD) < 0)
		exit(1);
	close(pair[0]);
	close(pair[1]);
}

struct settings {
	uint64_t seed;
	unsigned int seconds;
	unsigned int workers;
	unsigned int depth; /* 0, but for what do_exec() makes */
	int nobody;
};

static int run(const struct settings *settings)
{
	pid_t manager;
	unsigned int i;
	int status;

	printf("seed %llu\n", (unsigned long long)settings->seed);
	fflush(stdout);
	share_what_processes_share();
	if (unshare(CLONE_NEWPID)) {
		perror("unshare");
		return 1;
	}
	manager = fork();
	if (!manager) {
		if (settings->nobody)
			become_nobody();
		manage(settings->seed, settings->seconds, settings->workers);
	}
	if (manager < 0 || waitpid(manager, &status, 0) != manager)
		return 1;
	for (i = 0; i < COUNTS; i++)
		printf("%s %llu\n", count_names[i], (unsigned long long)counts[i]);
	return !WIFEXITED(status) || WEXITSTATUS(status);
}

static int read_settings(int argc, char **argv, struct settings *settings)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' }, { "seconds", required_argument, NULL, 't' },
		{ "workers", required_argument, NULL, 'w' }, { "nobody", no_argument, NULL, 'n' },
		{ "depth", required_argument, NULL, 'd' }, {}
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			settings->seed = strtoull(optarg, NULL, 0);
			break;
		case 't':
			settings->seconds = strtoul(optarg, NULL, 0);
			break;
		case 'w':
			settings->workers = strtoul(optarg, NULL, 0);
			break;
		case 'd':
			settings->depth = strtoul(optarg, NULL, 0);
			break;
		case 'n':
			settings->nobody = 1;
			break;
		default:
			return -1;
		}
	}
	return settings->workers && settings->workers <= WORKERS_MOST ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct settings settings = { .seed = (uint64_t)time(NULL) << 16 ^ (uint64_t)getpid(),
				     .seconds = 20, .workers = 8 };
	struct rlimit no_core = {};

	if (read_settings(argc, argv, &settings)) {
		fprintf(stderr, "fuzz [--seed N] [--seconds N] [--workers 1-%d] [--nobody]\n",
			WORKERS_MOST);
		return 2;
	}
	if (access(DEVICE, F_OK)) {
		perror(DEVICE);
		return 1;
	}
	catch_faults();
	signal(SIGPIPE, SIG_IGN);
	setrlimit(RLIMIT_CORE, &no_core);
	if (!settings.depth)
		return run(&settings);
	counts = calloc(COUNTS, sizeof(*counts));
	if (counts)
		live(new_worker(settings.seed, settings.depth), 200);
	return !counts;
}
