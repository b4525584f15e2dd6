/* SPDX-License-Identifier: GPL-2.0-only */
/* Pages that another process brings, after a time it knows. */
#include "scene.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define PAGE 4096
#define PAGES 4096

static char *memory;
static int channel;
static uint64_t used;

static void bring_page(struct scene *scene, struct line *line)
{
	static char content[PAGE];
	struct uffd_msg message;
	struct uffdio_copy copy = { .len = PAGE, .src = (uintptr_t)content };

	(void)scene;
	if (read(channel, &message, sizeof(message)) != sizeof(message))
		die("userfaultfd");
	line->begin_ns = now_ns();
	sleep_until(line->begin_ns + line->size_ns);
	copy.dst = message.arg.pagefault.address & ~(PAGE - 1ULL);
	line->end_ns = now_ns();
	if (ioctl(channel, UFFDIO_COPY, &copy))
		die("UFFDIO_COPY");
}

static void start(struct scene *scene)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	memory = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	channel = syscall(SYS_userfaultfd, 0);
	range.range.start = (uintptr_t)memory;
	range.range.len = PAGES * PAGE;
	if (channel < 0 || memory == MAP_FAILED || ioctl(channel, UFFDIO_API, &api) ||
	    ioctl(channel, UFFDIO_REGISTER, &range))
		die("userfaultfd");
	inject(scene, 0, "at-pager", scene->other, PARTNER_PRIORITY, bring_page);
}

static void before(struct scene *scene, struct turn *turn)
{
	turn->culprit = scene->lines[0].pid;
	turn->comm = "at-pager";
	order(&scene->lines[0], 0, turn->size_ns);
	sleep_for(scene->lead_ns);
}

static void during(struct scene *scene, struct turn *turn)
{
	(void)scene;
	turn->at_ns = now_ns();
	(void)*(volatile char *)(memory + PAGE * used++);
}

static void after(struct scene *scene, struct turn *turn)
{
	await(&scene->lines[0]);
	turn->truth_ns = scene->lines[0].end_ns - turn->at_ns;
}

const struct kind userfault = { "userfault", 0, start, before, during, after };
