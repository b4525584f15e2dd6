/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads that miss every cache: direct ones, and pages of a mapped file that is not in memory. */
#include "scene.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/ioctl.h>
#include <linux/fs.h>

#define PAGE 4096
#define SMALL (256UL << 10)
#define LARGE (4UL << 20)

static uint64_t size;
static uint64_t next;
static char *memory;
static int file;

/* Places far apart, so that no read-ahead helps. */
static uint64_t place(uint64_t bytes)
{
	next = next * 6364136223846793005ULL + 1442695040888963407ULL;
	return (next >> 16) % ((size - bytes) / PAGE) * PAGE;
}

static void open_file(const char *path, int flags)
{
	struct stat found;

	file = open(path, O_RDONLY | flags);
	if (file < 0 || fstat(file, &found))
		die(path);
	size = found.st_size;
	if (S_ISBLK(found.st_mode) && ioctl(file, BLKGETSIZE64, &size))
		die(path);
	next = now_ns();
}

static void start_disk(struct scene *scene)
{
	open_file(scene->place, O_DIRECT);
	memory = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
		      -1, 0);
	if (memory == MAP_FAILED)
		die("mmap");
}

static void before(struct scene *scene, struct turn *turn)
{
	(void)scene;
	turn->comm = "-";
}

/* In turn by a few large reads and by many small ones, as a scan of records does. */
static void read_disk(struct scene *scene, struct turn *turn)
{
	ssize_t bytes = turn->id % 2 ? SMALL : LARGE;

	(void)scene;
	while (now_ns() - turn->begin_ns < turn->size_ns)
		if (pread(file, memory, bytes, place(bytes)) != bytes)
			die("pread");
}

/* What the step did not spend on the CPU. */
static void after(struct scene *scene, struct turn *turn)
{
	uint64_t all = turn->end_ns - turn->begin_ns, busy = turn->cpu_ns + turn->delay_ns;

	(void)scene;
	turn->truth_ns = busy < all ? all - busy : 0;
}

const struct kind disk = { "disk", 0, start_disk, before, read_disk, after };

static void start_fault(struct scene *scene)
{
	open_file(scene->place, 0);
	memory = NULL;
}

/* Nothing of the file is in memory. */
static void be_cold(struct scene *scene, struct turn *turn)
{
	before(scene, turn);
	if (memory && munmap(memory, size))
		die("munmap");
	if (posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED))
		die("posix_fadvise");
	memory = mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED)
		die("mmap");
}

/* Touches cold pages, one after another. */
static void touch(struct scene *scene, struct turn *turn)
{
	(void)scene;
	while (now_ns() - turn->begin_ns < turn->size_ns)
		(void)*(volatile char *)(memory + place(PAGE));
}

const struct kind fault = { "fault", 0, start_fault, be_cold, touch, after };
