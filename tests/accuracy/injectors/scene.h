/* SPDX-License-Identifier: GPL-2.0-only */
/* What the subject and its injectors share: clocks, orders, stamps. */
#ifndef ACCURACY_SCENE_H
#define ACCURACY_SCENE_H

#define _GNU_SOURCE
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define LINES 2
#define NS_PER_US ((uint64_t)1000)
#define NS_PER_MS ((uint64_t)1000000)

/* One injector's orders and its own stamps; in memory that both processes see. */
struct line {
	_Atomic uint32_t order; /* counts orders; a futex */
	_Atomic uint32_t done; /* the last order carried out; a futex */
	_Atomic uint32_t stop; /* the order in hand may end */
	_Atomic uint32_t lock; /* of the futex holder */
	uint64_t at_ns;
	uint64_t size_ns;
	uint64_t begin_ns;
	uint64_t end_ns;
	pid_t pid;
};

/* One step: what was asked for, and what the subject and the injector saw of it. */
struct turn {
	uint64_t id;
	uint64_t size_ns; /* 0: nothing is injected */
	uint64_t at_ns;
	uint64_t begin_ns;
	uint64_t end_ns;
	uint64_t truth_ns; /* of the injected cause */
	uint64_t check_ns; /* the same by another witness; 0: there is none */
	uint64_t cpu_ns;
	uint64_t delay_ns; /* /proc/self/schedstat: runnable, not running */
	uint64_t gap_ns; /* sum of the spin loop's gaps */
	pid_t culprit;
	int late; /* the injection missed the step */
	const char *comm;
};

struct scene {
	struct line *lines;
	int cpu; /* the subject's */
	int other; /* the injectors' */
	uint64_t lead_ns; /* what an order needs to arrive */
	const char *place; /* a file, device or cgroup, by kind */
};

struct kind {
	const char *name;
	int fair; /* the subject competes as ordinary tasks do; else it is SCHED_FIFO */
	void (*start)(struct scene *scene);
	void (*before)(struct scene *scene, struct turn *turn);
	void (*during)(struct scene *scene, struct turn *turn);
	void (*after)(struct scene *scene, struct turn *turn);
};

#define PARTNER_PRIORITY 20

extern const struct kind hog, preempt, migrate, rival, throttle, softirq, ksoftirqd, hardirq, disk,
	fault, userfault, peer, child, holder, sleeper, parse, partner;

uint64_t clock_ns(clockid_t clock);
uint64_t now_ns(void);
void sleep_until(uint64_t at_ns);
void sleep_for(uint64_t ns);
void die(const char *what);
void pin(pid_t pid, int cpu);
void write_text(const char *path, const char *text);

/* A loop that stood still for this long was interrupted; more where every turn takes longer. */
extern uint64_t least_gap_ns;

/* Spins up to `until_ns`; returns the sum of gaps. */
uint64_t spin_until(uint64_t until_ns);
/* The same up to a moment when `done` holds `value` and no gap was seen for `quiet_ns`. */
uint64_t spin_while(_Atomic uint32_t *done, uint32_t value, uint64_t quiet_ns, uint64_t limit_ns);

void name_self(const char *comm);
void futex_wait(_Atomic uint32_t *word, uint32_t value);
void futex_wake(_Atomic uint32_t *word);

/* A process that carries out each order by body(); it ends with the subject. */
void inject(struct scene *scene, int line, const char *comm, int cpu, int realtime,
	    void (*body)(struct scene *scene, struct line *line));
uint32_t order(struct line *line, uint64_t at_ns, uint64_t size_ns);
void await(struct line *line);

#endif
