// SPDX-License-Identifier: GPL-2.0-only
/* /dev/agent_latency: files with a page of slots each; the protocol is in uapi/agent_latency.h. */
#include <linux/bitmap.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "agents.h"
#include "attribution.h"
#include "compat.h"
#include "device.h"

/*
 * What an open file has. One reference is the descriptor's, one each agent's. `page` is mapped by
 * user space and read by probes; each user may write anything to it at any time.
 */
struct agent_file {
	struct kref references;
	struct page *page;
	/* Taken with test_and_set_bit(), given back with clear_bit(): no lock. */
	DECLARE_BITMAP(slots, AGENT_LATENCY_SLOTS);
};

static struct agent_latency_slot *slots_of(const struct agent_file *file)
{
	return page_address(file->page);
}

static void free_file(struct kref *references)
{
	struct agent_file *file = container_of(references, struct agent_file, references);

	__free_page(file->page);
	kfree(file);
}

void agent_file_get(struct agent_file *file)
{
	kref_get(&file->references);
}

void agent_file_put(struct agent_file *file)
{
	kref_put(&file->references, free_file);
}

void agent_file_free_slot(struct agent_file *file, const struct agent_latency_slot *slot)
{
	clear_bit(slot - slots_of(file), file->slots);
}

static int take_slot(struct agent_file *file)
{
	int slot;

	do {
		slot = find_first_zero_bit(file->slots, AGENT_LATENCY_SLOTS);
		if (slot >= AGENT_LATENCY_SLOTS)
			return -ENOSPC;
	} while (test_and_set_bit(slot, file->slots));
	return slot;
}

static int open(struct inode *inode, struct file *descriptor)
{
	struct agent_file *file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);

	if (!file)
		return -ENOMEM;
	file->page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!file->page) {
		kfree(file);
		return -ENOMEM;
	}
	kref_init(&file->references);
	descriptor->private_data = file;
	return nonseekable_open(inode, descriptor);
}

static int release(struct inode *inode, struct file *descriptor)
{
	struct agent_file *file = descriptor->private_data;

	/* A slot is given back after its agent left the table: with none taken there is none. */
	if (!bitmap_empty(file->slots, AGENT_LATENCY_SLOTS))
		agents_detach_all(file);
	agent_file_put(file);
	return 0;
}

/* A mapping holds the descriptor's file, and vm_insert_page() a reference on the page. */
static int map(struct file *descriptor, struct vm_area_struct *vma)
{
	struct agent_file *file = descriptor->private_data;

	if (vma->vm_pgoff || vma_pages(vma) != 1 || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;
	vm_flags_mod(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP, VM_MAYEXEC);
	return vm_insert_page(vma, vma->vm_start, file->page);
}

/* The thread that a request names, with a reference, if the caller may attach and detach it. */
static struct task_struct *find_thread(s32 tid)
{
	struct task_struct *task;
	struct pid *pid;

	if (!tid)
		return get_task_struct(current);
	if (tid < 0)
		return ERR_PTR(-ESRCH);
	pid = find_get_pid(tid);
	task = get_pid_task(pid, PIDTYPE_PID);
	put_pid(pid);
	if (!task)
		return ERR_PTR(-ESRCH);
	if (!same_thread_group(task, current) && !capable(CAP_SYS_PTRACE)) {
		put_task_struct(task);
		return ERR_PTR(-EPERM);
	}
	return task;
}

static int attach_thread(struct agent_file *file, struct task_struct *task)
{
	int slot, err;

	if (task->flags & PF_KTHREAD)
		return -EINVAL;
	slot = take_slot(file);
	if (slot < 0)
		return slot;
	/* The thread that had it may have died in a step. */
	memset(slots_of(file) + slot, 0, AGENT_LATENCY_SLOT_BYTES);
	err = agents_attach(task, file, slots_of(file) + slot, current_uid(),
			    !capable(CAP_SYS_RESOURCE));
	return err ? err : slot;
}

static long attach(struct agent_file *file, void __user *argument, unsigned int size)
{
	struct agent_latency_attach request;
	struct task_struct *task;
	int slot;
	int err;

	err = copy_struct_from_user(&request, sizeof(request), argument, size);
	if (err)
		return err;
	if (request.flags)
		return -EINVAL;
	task = find_thread(request.tid);
	if (IS_ERR(task))
		return PTR_ERR(task);
	slot = attach_thread(file, task);
	if (slot >= 0) {
		struct agent_latency_attach __user *answer = argument;

		err = put_user((u32)slot, &answer->slot);
		if (err)
			agents_detach(task, file);
	}
	put_task_struct(task);
	return slot < 0 ? slot : err;
}

static long detach(struct agent_file *file, void __user *argument, unsigned int size)
{
	struct agent_latency_attach request;
	struct task_struct *task;
	int err;

	err = copy_struct_from_user(&request, sizeof(request), argument, size);
	if (err)
		return err;
	if (request.flags)
		return -EINVAL;
	task = find_thread(request.tid);
	if (IS_ERR(task))
		return PTR_ERR(task);
	err = agents_detach(task, file);
	put_task_struct(task);
	return err;
}

static long inform(struct agent_file *file, void __user *argument, unsigned int size)
{
	struct agent_latency_info info = {
		.size = sizeof(info),
		.version = AGENT_LATENCY_VERSION,
		.features = agent_attribution_features(),
		.attached = bitmap_weight(file->slots, AGENT_LATENCY_SLOTS),
	};

	size = min_t(unsigned int, size, sizeof(info));
	return copy_to_user(argument, &info, size) ? -EFAULT : 0;
}

/* The argument begins with its size, by which older and newer programs are told apart. */
static long control(struct file *descriptor, unsigned int command, unsigned long word)
{
	struct agent_file *file = descriptor->private_data;
	void __user *argument = (void __user *)word;
	u32 size;

	if (_IOC_TYPE(command) != AGENT_LATENCY_MAGIC)
		return -ENOTTY;
	switch (_IOC_NR(command)) {
	case _IOC_NR(AGENT_LATENCY_INFO):
	case _IOC_NR(AGENT_LATENCY_ATTACH):
	case _IOC_NR(AGENT_LATENCY_DETACH):
		break;
	default:
		return -ENOTTY;
	}
	if (get_user(size, (u32 __user *)argument))
		return -EFAULT;
	if (size < AGENT_LATENCY_SIZE_MIN || size > PAGE_SIZE)
		return size > PAGE_SIZE ? -E2BIG : -EINVAL;
	switch (_IOC_NR(command)) {
	case _IOC_NR(AGENT_LATENCY_INFO):
		return inform(file, argument, size);
	case _IOC_NR(AGENT_LATENCY_ATTACH):
		return attach(file, argument, size);
	default:
		return detach(file, argument, size);
	}
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = open,
	.release = release,
	.mmap = map,
	.unlocked_ioctl = control,
	.compat_ioctl = compat_ptr_ioctl,
};

/* Anybody may attach the own threads; the limits are in agents_attach(). */
static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "agent_latency",
	.fops = &operations,
	.mode = 0666,
};

int agent_device_init(void)
{
	BUILD_BUG_ON(sizeof(struct agent_latency_slot) != AGENT_LATENCY_SLOT_BYTES);
	BUILD_BUG_ON(PAGE_SIZE != AGENT_LATENCY_PAGE_BYTES);
	return misc_register(&device);
}

void agent_device_exit(void)
{
	misc_deregister(&device);
}
