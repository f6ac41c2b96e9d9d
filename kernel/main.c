// SPDX-License-Identifier: GPL-2.0
/*
 * winnow: /proc/sysinfo_winnow shows, in one read, the host's memory and every
 * container with its memory, its CPU time and its processes, as JSON.
 *
 * Opening the file takes the snapshot: one walk over all pids, in which the
 * first process of a container brings the container's own figures with it. It
 * holds nothing for longer than it takes to look at one process, waits for
 * nobody, and ends when its reader is killed.
 *
 * Cgroup v2 is read where the memory controller is on it. On v1 the containers
 * are those of the memory hierarchy, and a reader takes their CPU time from
 * cpuacct.usage.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cgroup.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/namei.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/vmalloc.h>

#include "winnow.h"

/* What one read() gives at most: copying more would keep a CPU for long. */
#define READ_MAX (1024UL * 1024)

static char *name = "sysinfo_winnow";
module_param(name, charp, 0444);
MODULE_PARM_DESC(name, "name of the file in /proc (default sysinfo_winnow)");

static ushort mode = 0400;
module_param(mode, ushort, 0444);
MODULE_PARM_DESC(mode, "mode of the file, read bits only (default 0400: command lines can hold secrets)");

static bool processes = true;
module_param(processes, bool, 0644);
MODULE_PARM_DESC(processes, "list every process of a container, not only its oldest (default 1)");

static uint cmdline_max = CMDLINE_MAX;
module_param(cmdline_max, uint, 0644);
MODULE_PARM_DESC(cmdline_max, "how many bytes of a command line are shown, at most 4096 (default 4096)");

static struct proc_dir_entry *entry;

static struct snapshot *snapshot_new(void)
{
	struct snapshot *s = kvzalloc(sizeof(*s), WINNOW_GFP);
	struct sysinfo memory;

	if (!s)
		return NULL;
	si_meminfo(&memory);
	s->v2 = memory_cgrp_subsys.root == &cgrp_dfl_root;
	s->all = READ_ONCE(processes);
	s->cmdline_max = min(READ_ONCE(cmdline_max), CMDLINE_MAX);
	s->start_ns = ktime_get_boottime_ns();
	s->total_kb = pages_to_kb(memory.totalram);
	s->free_kb = pages_to_kb(memory.freeram);
	s->limit = min_t(u64, DOCUMENT_MAX, s->total_kb * 1024 / 32);
	s->end = &s->first;
	xa_init_flags(&s->by_cgroup, XA_FLAGS_ACCOUNT);
	return s;
}

static void snapshot_free(struct snapshot *s)
{
	int i;

	xa_destroy(&s->by_cgroup);
	for (i = 0; i < CHUNKS_MAX && s->chunk[i]; i++)
		vfree(s->chunk[i]);
	kvfree(s);
}

/*
 * What the file says of the whole host is not for those inside a container,
 * whichever of the host's namespaces it shares.
 */
static bool reader_is_outside(struct snapshot *s)
{
	struct container found = {};
	bool outside;

	if (task_active_pid_ns(current) != &init_pid_ns)
		return false;
	rcu_read_lock();
	outside = !task_container(s, current, &found);
	rcu_read_unlock();
	return outside;
}

static struct document *snapshot_take(struct snapshot *s)
{
	int err = reader_is_outside(s) ? walk_processes(s) : -EACCES;
	struct document *doc = err ? ERR_PTR(err) : write_document(s);

	if (!IS_ERR(doc))
		forget_containers(s);
	return doc;
}

static int winnow_open(struct inode *inode, struct file *file)
{
	struct snapshot *s = snapshot_new();

	if (!s)
		return -ENOMEM;
	file->private_data = snapshot_take(s);
	snapshot_free(s);
	return PTR_ERR_OR_ZERO(file->private_data);
}

static ssize_t winnow_read(struct file *file, char __user *to, size_t count,
			   loff_t *pos)
{
	struct document *doc = file->private_data;

	return simple_read_from_buffer(to, min(count, READ_MAX), pos, doc->text, doc->len);
}

static loff_t winnow_lseek(struct file *file, loff_t offset, int whence)
{
	struct document *doc = file->private_data;

	return fixed_size_llseek(file, offset, whence, doc->len);
}

static int winnow_release(struct inode *inode, struct file *file)
{
	vfree(file->private_data);
	return 0;
}

static const struct proc_ops winnow_ops = {
	.proc_open = winnow_open,
	.proc_read = winnow_read,
	.proc_lseek = winnow_lseek,
	.proc_release = winnow_release,
};

/* A letter first, so that it is no pid, and nothing that leads elsewhere. */
static bool name_is_plain(const char *s)
{
	size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");

	return ((s[0] | 32) >= 'a' && (s[0] | 32) <= 'z') && !s[len] && len < 64;
}

/* Whether /proc has the name already: the kernel warns loudly about a second. */
static bool name_is_taken(const char *s)
{
	char path[sizeof("/proc/") + 64];
	struct path found;

	snprintf(path, sizeof(path), "/proc/%s", s);
	if (kern_path(path, 0, &found))
		return false;
	path_put(&found);
	return true;
}

static int __init winnow_init(void)
{
	if (!name_is_plain(name)) {
		pr_err("name: must be letters, digits, _ . - and start with a letter\n");
		return -EINVAL;
	}
	if (mode & ~0444) {
		pr_err("mode: only read bits can be given, in octal such as 0440\n");
		return -EINVAL;
	}
	if (name_is_taken(name)) {
		pr_err("name: /proc/%s exists already\n", name);
		return -EBUSY; /* -EEXIST says that the module is loaded */
	}
	entry = proc_create(name, mode, NULL, &winnow_ops);
	return entry ? 0 : -ENOMEM;
}

static void __exit winnow_exit(void)
{
	proc_remove(entry);
	forget_all_containers();
}

module_init(winnow_init);
module_exit(winnow_exit);
MODULE_DESCRIPTION("Host memory and containers in one read of /proc");
MODULE_AUTHOR("The winnow authors");
MODULE_LICENSE("GPL");
MODULE_VERSION(WINNOW_VERSION);
