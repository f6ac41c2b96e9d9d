// SPDX-License-Identifier: GPL-2.0
/*
 * winnow: /proc/sysinfo_winnow shows, in one read, the host's memory and every
 * Docker container with its memory, its CPU time and its processes, as JSON.
 *
 * Opening the file takes the snapshot. It walks the pids once; a process whose
 * cgroup lies in a container's is written down as JSON at once, and the first
 * process of a container brings the container's own figures with it. At the
 * end the pieces are put in order. So nothing is held for longer than it takes
 * to look at one process, and nothing sleeps under RCU.
 *
 * Where there are many processes, several walkers on as many CPUs take pids by
 * turns. What each has met is its own until it is joined at the end.
 *
 * Cgroup v2 is read where the memory controller is on it. On v1 the containers
 * are those of the memory hierarchy, and cpu_ns is null: cpuacct keeps its
 * figures to itself, so a reader takes them from cpuacct.usage.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cgroup.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/kernel.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/namei.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "compat.h"
#include "json.h"

#define ID_LEN 64
#define SCOPE_PREFIX "docker-"
#define SCOPE_SUFFIX ".scope"
/* "/docker-<id>.scope" and its NUL: a longer name is no container's. */
#define NAME_SIZE (1 + sizeof(SCOPE_PREFIX SCOPE_SUFFIX) + ID_LEN)

/* Where there is more than this to write, another CPU helps: some 400 processes. */
#define WALKER_TEXT (64UL * 1024)
#define WALKERS_MAX 8UL

/* What a process or a container takes at most, its cmdline aside. */
#define ROOM 384
#define TEXT_MIN (16 * 1024)
#define DOCUMENT_MAX (1024UL << 20)
#define CONTAINER_BITS_MIN 4U
#define CONTAINER_BITS_MAX 20

static char *name = "sysinfo_winnow";
module_param(name, charp, 0444);
MODULE_PARM_DESC(name, "name of the file in /proc (default sysinfo_winnow)");

static ushort mode = 0400;
module_param(mode, ushort, 0444);
MODULE_PARM_DESC(mode, "mode of the file, read bits only (default 0400: command lines can hold secrets)");

static bool processes = true;
module_param(processes, bool, 0644);
MODULE_PARM_DESC(processes, "list every process of a container, not only its oldest (default 1)");

struct walker;

struct container {
	struct walker *by;	/* whose text has its processes */
	struct container *more;	/* those that another walker has met */
	size_t first;		/* where in the text its first process lies */
	size_t last;
	char id[ID_LEN];
	u64 cgroup;		/* the cgroup's id */
	bool has_memory;
	bool has_cpu;
	u64 memory_kb;
	u64 cpu_ns;
	u64 rss_kb;
	u64 vsz_kb;
	u64 oldest_ns;		/* when its oldest process started */
	unsigned int processes;
	int same_hash;		/* the next container with its hash, or -1 */
};

/* Goes before each process in the text: where the container's next one lies. */
struct piece {
	size_t next;		/* 0 for the last */
	size_t len;
};

/* What one of those who walk the pids has met. */
struct walker {
	struct snapshot *s;
	struct work_struct work;
	u64 outside;		/* the last cgroup seen to be in no container */
	struct container *containers;
	int *by_hash;		/* of a cgroup's id: a container, or -1 */
	unsigned int count;
	unsigned int bits;	/* there is room for 1 << bits containers */
	struct json text;	/* the processes, as they were met */
	u8 *page;		/* a part of a command line */
};

struct snapshot {
	bool v2;
	bool all;		/* list every process */
	u64 boottime_ns;
	u64 total_kb;
	u64 free_kb;
	size_t limit;		/* of the document, in bytes */
	struct task_struct *reader;
	struct mem_cgroup *payer;	/* its, which the memory is charged to */
	int err;		/* of a walker that failed; the others stop then */
	spinlock_t lock;
	int next_pid;		/* under the lock */
	unsigned int walkers;
	struct walker walker[];
};

struct process {
	u64 start_ns;
	u64 cpu_ns;
	u64 rss_kb;
	u64 vsz_kb;
	char state;
	char name[TASK_COMM_LEN];
};

/*
 * The CPU time last shown of each container. Pending CPU time moves up the
 * cgroup tree in steps, and a snapshot can fall between two of them; a counter
 * that went back would be read as a restart.
 */
static DEFINE_XARRAY(shown_cpu);
static unsigned long shown_count;	/* under the array's lock */

/* How much the last snapshot had: the next will have about as much. */
static size_t text_hint;
static unsigned int count_hint;

static struct workqueue_struct *walk_queue;
static struct proc_dir_entry *entry;

static u64 pages_to_kb(u64 pages)
{
	return pages << (PAGE_SHIFT - 10);
}

/* Whether @s begins with an id; looks at nothing beyond its NUL. */
static bool starts_with_id(const char *s)
{
	static const bool hex[256] = {
		['0' ... '9'] = true, ['a' ... 'f'] = true,
	};
	int i;

	for (i = 0; i < ID_LEN; i++)
		if (!hex[(u8)s[i]])
			return false;
	return true;
}

/*
 * The name of a cgroup. On v1 it can change, and only what copies it is safe
 * from that; on v2 it stays.
 */
static const char *cgroup_name_of(struct snapshot *s, struct cgroup *cgrp,
				  char *path, size_t size)
{
	int len;

	if (s->v2)
		return compat_kernfs_name(cgrp->kn);
	len = kernfs_path_from_node(cgrp->kn, cgroup_parent(cgrp)->kn, path, size);
	return len > 0 && len < size ? path + 1 : "";
}

/* Whether the cgroup is named as a container's; its id goes to @id. */
static bool container_name(struct snapshot *s, struct cgroup *cgrp, char *id)
{
	char path[NAME_SIZE];
	const char *at = cgroup_name_of(s, cgrp, path, sizeof(path));
	const char *end = "";

	if (!strncmp(at, SCOPE_PREFIX, strlen(SCOPE_PREFIX))) {
		at += strlen(SCOPE_PREFIX);
		end = SCOPE_SUFFIX;
	}
	/* A cgroup that was shown before is one: on v2 none changes its name. */
	if (!(s->v2 && xa_load(&shown_cpu, cgroup_id(cgrp))) &&
	    (!starts_with_id(at) || strcmp(at + ID_LEN, end)))
		return false;
	memcpy(id, at, ID_LEN);
	return true;
}

static struct container *known_container(struct walker *w, u64 cgroup)
{
	int i = w->by_hash[hash_64(cgroup, w->bits)];

	while (i >= 0 && w->containers[i].cgroup != cgroup)
		i = w->containers[i].same_hash;
	return i < 0 ? NULL : &w->containers[i];
}

static void hash_container(struct walker *w, int i)
{
	int *head = &w->by_hash[hash_64(w->containers[i].cgroup, w->bits)];

	w->containers[i].same_hash = *head;
	*head = i;
}

/* Makes room for 1 << @bits containers, in which the known ones are kept. */
static int resize_containers(struct walker *w, unsigned int bits)
{
	size_t room = 1UL << bits;
	struct container *containers;
	int *by_hash, i;

	if (bits > CONTAINER_BITS_MAX)
		return -EFBIG;
	containers = kvmalloc_array(room, sizeof(*containers), JSON_GFP);
	by_hash = kvmalloc_array(room, sizeof(*by_hash), JSON_GFP);
	if (!containers || !by_hash) {
		kvfree(containers);
		kvfree(by_hash);
		return -ENOMEM;
	}
	if (w->count)
		memcpy(containers, w->containers, w->count * sizeof(*containers));
	memset(by_hash, -1, room * sizeof(*by_hash));
	kvfree(w->containers);
	kvfree(w->by_hash);
	w->containers = containers;
	w->by_hash = by_hash;
	w->bits = bits;
	for (i = 0; i < w->count; i++)
		hash_container(w, i);
	return 0;
}

/*
 * The container that a cgroup belongs to: one that the snapshot knows goes to
 * @known. Else the cgroup of the outermost one is returned, its id in @id, so
 * that what runs in a container belongs to it. Neither where there is none.
 */
static struct cgroup *find_container(struct walker *w, struct cgroup *cgrp,
				     struct container **known, char *id)
{
	struct cgroup *leaf = cgrp, *found = NULL;

	*known = NULL;
	while (cgroup_parent(cgrp) && cgroup_id(cgrp) != w->outside) {
		*known = known_container(w, cgroup_id(cgrp));
		if (*known)
			return NULL;
		if (container_name(w->s, cgrp, id))
			found = cgrp;
		cgrp = cgroup_parent(cgrp);
	}
	/* Most containers are siblings, and what is above them is looked at once. */
	w->outside = cgroup_id(found ? cgroup_parent(found) : leaf);
	return found;
}

/* Whether a cgroup has none below it, as those of most containers. */
static bool is_leaf(struct cgroup_subsys_state *css)
{
	return list_empty(&css->children);
}

/* Adds up a cgroup's CPU time; a change of the return value means a flush. */
static u64 add_cpu(struct cgroup *cgrp, bool top, u64 *total)
{
	u64 sum = READ_ONCE(cgrp->bstat.cputime.sum_exec_runtime);
	u64 last = READ_ONCE(cgrp->last_bstat.cputime.sum_exec_runtime);
	u64 moved = sum + last;
	int cpu;

	*total += top ? sum : sum - last;
	for_each_possible_cpu(cpu) {
		struct compat_cpu_stat *stat =
			per_cpu_ptr(compat_cpu_stats(cgrp), cpu);
		u64 flushed =
			READ_ONCE(stat->last_bstat.cputime.sum_exec_runtime);

		*total += READ_ONCE(stat->bstat.cputime.sum_exec_runtime) - flushed;
		moved += flushed;
	}
	return moved;
}

/*
 * The CPU time of a cgroup and all below it, without a flush: what has arrived
 * at the cgroup, and what waits on each CPU and in each descendant. A flush
 * moves time from the latter to the former, so it is read again until nothing
 * has moved between two readings.
 */
static u64 read_cpu(struct cgroup *top)
{
	u64 total, moved, before = 0;
	int tries;

	for (tries = 0; tries < 8; tries++) {
		struct cgroup_subsys_state *css;

		total = 0;
		moved = 0;
		if (is_leaf(&top->self))
			moved = add_cpu(top, true, &total);
		else
			css_for_each_descendant_pre(css, &top->self)
				moved += add_cpu(css->cgroup, css == &top->self, &total);
		if (tries && moved == before)
			break;
		/* Nothing waited, or just that has arrived. */
		smp_rmb(); /* what follows is to be read later than all above */
		if (is_leaf(&top->self) &&
		    total == READ_ONCE(top->bstat.cputime.sum_exec_runtime))
			break;
		before = moved;
	}
	return total;
}

static u64 inactive_file(struct mem_cgroup *memcg)
{
	u64 pages = 0;
	int nid, zone;

	/* As for_each_node_state(), which looks through MAX_NUMNODES bits. */
	for (nid = 0; nid < nr_node_ids; nid++) {
		struct lruvec *lruvec;

		if (!node_state(nid, N_MEMORY))
			continue;
		lruvec = &memcg->nodeinfo[nid]->lruvec;
		for (zone = 0; zone < MAX_NR_ZONES; zone++)
			pages += mem_cgroup_get_zone_lru_size(lruvec,
							      LRU_INACTIVE_FILE,
							      zone);
		pages += compat_inactive_file(lruvec);
	}
	return pages;
}

/* Usage less the inactive file cache, as docker stats counts. */
static u64 read_memory(struct cgroup_subsys_state *top)
{
	struct cgroup_subsys_state *css;
	u64 used, inactive = 0;

	used = page_counter_read(&mem_cgroup_from_css(top)->memory);
	if (is_leaf(top))
		inactive = inactive_file(mem_cgroup_from_css(top));
	else
		css_for_each_descendant_pre(css, top)
			inactive += inactive_file(mem_cgroup_from_css(css));
	return pages_to_kb(inactive < used ? used - inactive : used);
}

static void measure(struct snapshot *s, struct cgroup *cgrp,
		    struct container *c)
{
	struct cgroup_subsys_state *css;

	css = rcu_dereference(cgrp->subsys[memory_cgrp_id]);
	c->has_memory = css;
	if (css)
		c->memory_kb = read_memory(css);
	c->has_cpu = s->v2;
	if (s->v2)
		c->cpu_ns = read_cpu(cgrp);
	c->cgroup = cgroup_id(cgrp);
}

/* Keeps a container's CPU time from going back between two snapshots. */
static int hold_cpu(struct container *c)
{
	XA_STATE(xas, &shown_cpu, c->cgroup);
	void *shown;

	do {
		xas_lock(&xas);
		shown = xas_load(&xas);
		if (shown && xa_to_value(shown) >= c->cpu_ns)
			c->cpu_ns = xa_to_value(shown);
		else
			xas_store(&xas, xa_mk_value(c->cpu_ns));
		if (!shown && !xas_error(&xas))
			shown_count++;
		xas_unlock(&xas);
	} while (xas_nomem(&xas, GFP_KERNEL));
	return xas_error(&xas);
}

/* Forgets the containers that are gone. */
static void forget_cpu(struct walker *all)
{
	XA_STATE(xas, &shown_cpu, 0);
	void *shown;

	xas_lock(&xas);
	if (shown_count > all->count)
		xas_for_each(&xas, shown, ULONG_MAX)
			if (!known_container(all, xas.xa_index)) {
				xas_store(&xas, NULL);
				shown_count--;
			}
	xas_unlock(&xas);
}

static int append_container(struct walker *w, const struct container *c)
{
	int err = 0;

	if (w->count >> w->bits)
		err = resize_containers(w, w->bits + 1);
	if (err)
		return err;
	w->containers[w->count] = *c;
	hash_container(w, w->count++);
	return 0;
}

static struct container *add_container(struct walker *w,
				       struct container *found)
{
	int err = found->has_cpu ? hold_cpu(found) : 0;

	if (!err)
		err = append_container(w, found);
	return err ? ERR_PTR(err) : &w->containers[w->count - 1];
}

/* The cgroup that counts the task's memory, or on v2 all of its resources. */
static struct cgroup *task_cgroup_of(struct snapshot *s,
				     struct task_struct *task)
{
	if (s->v2)
		return task_dfl_cgroup(task);
	return task_css(task, memory_cgrp_id)->cgroup;
}

/* The next pid that no walker has looked at. */
static struct pid *next_pid(struct snapshot *s)
{
	struct pid *pid;

	spin_lock(&s->lock);
	pid = compat_find_ge_pid(s->next_pid);
	if (pid)
		s->next_pid = pid_nr(pid) + 1;
	spin_unlock(&s->lock);
	return pid;
}

/*
 * Looks at the next pid. Returns false after the last one. A process of a
 * container goes to @task with a reference, its container to @known, or to
 * @found where it is the container's first.
 */
static bool next_process(struct walker *w, struct task_struct **task,
			 struct container **known, struct container *found)
{
	struct task_struct *leader;
	struct cgroup *cgrp;
	struct pid *pid;

	*task = NULL;
	rcu_read_lock();
	pid = next_pid(w->s);
	if (!pid) {
		rcu_read_unlock();
		return false;
	}
	leader = pid_task(pid, PIDTYPE_TGID);
	/* As cgroup.procs: a process counts while a thread of it lives. */
	if (!leader || leader->flags & PF_KTHREAD ||
	    !atomic_read(&leader->signal->live))
		goto out;
	cgrp = find_container(w, task_cgroup_of(w->s, leader), known, found->id);
	if (!cgrp && !*known)
		goto out;
	if (cgrp)
		measure(w->s, cgrp, found);
	*task = get_task_struct(leader);
out:
	rcu_read_unlock();
	return true;
}

/*
 * The CPU time of all threads, those that have exited included. Threads that
 * exit all the time must not hold the reader up, so it tries a few times only.
 */
static u64 process_cpu(struct task_struct *leader)
{
	struct signal_struct *signal = leader->signal;
	struct task_struct *thread;
	unsigned int seq;
	int tries;
	u64 sum;

	rcu_read_lock();
	for (tries = 0; tries < 8; tries++) {
		seq = read_seqbegin(&signal->stats_lock);
		sum = signal->sum_sched_runtime;
		for_each_thread(leader, thread)
			sum += READ_ONCE(thread->se.sum_exec_runtime);
		if (!read_seqretry(&signal->stats_lock, seq))
			break;
	}
	rcu_read_unlock();
	return sum;
}

static void look_at(struct task_struct *task, struct mm_struct *mm,
		    struct process *p)
{
	p->start_ns = task->start_boottime;
	p->cpu_ns = process_cpu(task);
	p->state = task_state_to_char(task);
	p->rss_kb = mm ? pages_to_kb(get_mm_rss(mm)) : 0;
	p->vsz_kb = mm ? pages_to_kb(mm->total_vm) : 0;
	get_task_comm(p->name, task);
}

/* Reads only anonymous memory: a file's pages could make the reader wait. */
static int read_args(struct task_struct *task, unsigned long at, void *buf,
		     unsigned long len)
{
	return access_process_vm(task, at, buf, len, FOLL_ANON);
}

/* Writes @n bytes of arguments; returns those used. */
static int write_args(struct json *j, u8 *args, size_t n, size_t *nuls,
		      bool final)
{
	size_t tail = 0, used;
	char *to;
	int err;

	while (tail < n && !args[n - tail - 1])
		tail++;
	n -= tail;
	err = json_reserve(j, *nuls + n * JSON_ESCAPE_MAX);
	if (err)
		return err;
	to = json_end(j);
	/* NULs are held back until something follows them. */
	for (; n && *nuls; --*nuls)
		*to++ = ' ';
	used = json_escape(&to, args, n, final || tail);
	json_wrote(j, to);
	*nuls += tail;
	return used + tail;
}

/*
 * Writes the command line, as /proc/<pid>/cmdline has it: where a process has
 * written over its arguments, the title that stands there instead.
 */
static int write_cmdline(struct walker *w, struct task_struct *task,
			 struct mm_struct *mm)
{
	struct json *j = &w->text;
	u8 *page = w->page;
	unsigned long at, end;
	size_t left = 0, nuls = 0;
	int got, used;
	u8 c, last;

	spin_lock(&mm->arg_lock);
	at = mm->arg_start;
	end = mm->arg_end;
	spin_unlock(&mm->arg_lock);
	if (at >= end)
		return 0;
	got = read_args(task, at, page, min(end - at, PAGE_SIZE));
	if (got <= 0)
		return 0;
	if (got < end - at)
		last = read_args(task, end - 1, &c, 1) == 1 ? c : 0;
	else
		last = page[got - 1];
	if (last) {
		got = read_args(task, at, page, PAGE_SIZE);
		if (got <= 0)
			return 0;
		used = write_args(j, page, strnlen(page, got), &nuls, true);
		return min(used, 0);
	}
	for (;;) {
		at += got;
		left += got;
		used = write_args(j, page, left, &nuls, at >= end);
		if (used < 0)
			return used;
		left -= used;
		memmove(page, page + used, left);
		if (at >= end)
			break;
		if (fatal_signal_pending(w->s->reader))
			return -EINTR;
		cond_resched();
		got = read_args(task, at, page + left, min(end - at, PAGE_SIZE - left));
		if (got <= 0)
			break;
	}
	/* The memory ended within a sequence: what there is of it. */
	used = write_args(j, page, left, &nuls, true);
	return min(used, 0);
}

static int write_process(struct walker *w, struct task_struct *task,
			 struct mm_struct *mm, const struct process *p)
{
	u64 total_kb = w->s->total_kb;
	struct json *j = &w->text;
	char *to;
	int err;

	err = json_reserve(j, ROOM);
	if (err)
		return err;
	to = json_end(j);
	to = json_lit(to, "{\"pid\":");
	to = json_u64(to, task->tgid);
	to = json_lit(to, ",\"start_ns\":");
	to = json_u64(to, p->start_ns);
	to = json_lit(to, ",\"name\":\"");
	json_escape(&to, p->name, strnlen(p->name, sizeof(p->name)), true);
	to = json_lit(to, "\",\"state\":\"");
	to = json_raw(to, &p->state, 1);
	to = json_lit(to, "\",\"cmdline\":\"");
	json_wrote(j, to);
	if (mm) {
		err = write_cmdline(w, task, mm);
		if (err)
			return err;
	}
	err = json_reserve(j, ROOM);
	if (err)
		return err;
	to = json_end(j);
	to = json_lit(to, "\",\"vsz_kb\":");
	to = json_u64(to, p->vsz_kb);
	to = json_lit(to, ",\"rss_kb\":");
	to = json_u64(to, p->rss_kb);
	to = json_lit(to, ",\"memory_percent\":");
	to = json_hundredths(to, (p->rss_kb * 10000 + total_kb / 2) / total_kb);
	to = json_lit(to, ",\"cpu_ns\":");
	to = json_u64(to, p->cpu_ns);
	json_wrote(j, json_lit(to, "}"));
	return 0;
}

/* Adds what was written since @at, behind a piece, to the container's list. */
static void add_piece(struct walker *w, struct container *c, size_t at)
{
	struct piece piece = { .len = w->text.len - at - sizeof(piece) };

	memcpy(w->text.buf + at, &piece, sizeof(piece));
	/* There is no process at 0, which ends a list. */
	if (c->first && w->s->all)
		memcpy(w->text.buf + c->last + offsetof(struct piece, next), &at, sizeof(at));
	else
		c->first = at;
	c->last = at;
}

/* Counts a process into its container and writes it where it is listed. */
static int add_process(struct walker *w, struct container *c,
		       struct task_struct *task, struct mm_struct *mm)
{
	struct process p;
	size_t at = w->text.len;
	bool older;
	int err;

	look_at(task, mm, &p);
	c->rss_kb += p.rss_kb;
	c->vsz_kb += p.vsz_kb;
	older = !c->processes++ || p.start_ns < c->oldest_ns;
	if (older)
		c->oldest_ns = p.start_ns;
	if (!older && !w->s->all)
		return 0;
	err = json_reserve(&w->text, sizeof(struct piece));
	if (err)
		return err;
	w->text.len += sizeof(struct piece);
	err = write_process(w, task, mm, &p);
	if (!err)
		add_piece(w, c, at);
	return err;
}

static int walk_processes(struct walker *w)
{
	struct container found = { .by = w }, *c;
	struct task_struct *task;
	struct mm_struct *mm;
	int err = 0;

	while (!err && !READ_ONCE(w->s->err) && next_process(w, &task, &c, &found)) {
		cond_resched();
		if (fatal_signal_pending(w->s->reader))
			err = -EINTR;
		if (!task)
			continue;
		if (!c)
			c = add_container(w, &found);
		if (IS_ERR(c)) {
			err = PTR_ERR(c);
		} else if (!err) {
			mm = get_task_mm(task);
			err = add_process(w, c, task, mm);
			if (mm)
				mmput(mm);
		}
		put_task_struct(task);
	}
	return err;
}

/* Makes room for a walker's share of what the last snapshot had, and walks. */
static void walk(struct walker *w)
{
	struct snapshot *s = w->s;
	size_t text = READ_ONCE(text_hint) / s->walkers;
	unsigned int count = READ_ONCE(count_hint) / s->walkers;
	int err;

	w->page = (u8 *)__get_free_page(GFP_KERNEL_ACCOUNT);
	err = w->page ? 0 : -ENOMEM;
	if (!err)
		err = resize_containers(w, max_t(int, fls(count), CONTAINER_BITS_MIN));
	if (!err)
		err = json_reserve(&w->text, min(text + text / 8 + TEXT_MIN, w->text.limit));
	if (!err) {
		w->text.len = sizeof(struct piece); /* so that none lies at 0 */
		err = walk_processes(w);
	}
	if (err)
		WRITE_ONCE(s->err, err);
}

/* Walks on another CPU; what that takes is the reader's all the same. */
static void walk_elsewhere(struct work_struct *work)
{
	struct walker *w = container_of(work, struct walker, work);

	current->active_memcg = w->s->payer;
	walk(w);
	current->active_memcg = NULL;
}

/* Adds what another walker has met of a container. */
static void join_container(struct snapshot *s, struct container *to,
			   struct container *c)
{
	to->cpu_ns = max(to->cpu_ns, c->cpu_ns);
	to->rss_kb += c->rss_kb;
	to->vsz_kb += c->vsz_kb;
	to->processes += c->processes;
	if (s->all) {
		c->more = to->more;
		to->more = c;
	} else if (c->oldest_ns < to->oldest_ns) {
		to->oldest_ns = c->oldest_ns;
		to->by = c->by;
		to->first = c->first;
	}
}

static int join_walker(struct walker *to, struct walker *w)
{
	struct container *known;
	int i, err = 0;

	for (i = 0; !err && i < w->count; i++) {
		known = known_container(to, w->containers[i].cgroup);
		if (known)
			join_container(to->s, known, &w->containers[i]);
		else
			err = append_container(to, &w->containers[i]);
	}
	return err;
}

/* Leaves all containers with the first walker. */
static int walk_all(struct snapshot *s)
{
	unsigned int i;
	int err;

	for (i = 1; i < s->walkers; i++)
		queue_work(walk_queue, &s->walker[i].work);
	walk(&s->walker[0]);
	for (i = 1; i < s->walkers; i++)
		flush_work(&s->walker[i].work);
	err = s->err;
	for (i = 1; !err && i < s->walkers; i++)
		err = join_walker(&s->walker[0], &s->walker[i]);
	return err;
}

static char *write_null_or(char *to, bool has, u64 value)
{
	return has ? json_u64(to, value) : json_lit(to, "null");
}

static char *write_processes(char *to, const struct container *c)
{
	const char *text = c->by->text.buf;
	struct piece piece;
	size_t at;

	for (at = c->first; at; at = piece.next) {
		memcpy(&piece, text + at, sizeof(piece));
		to = json_raw(to, text + at + sizeof(piece), piece.len);
		if (piece.next || c->more)
			to = json_lit(to, ",");
	}
	return to;
}

static void write_container(struct json *j, const struct container *c)
{
	char *to = json_end(j);

	to = json_lit(to, "\n{\"id\":\"");
	to = json_raw(to, c->id, ID_LEN);
	to = json_lit(to, "\",\"memory_kb\":");
	to = write_null_or(to, c->has_memory, c->memory_kb);
	to = json_lit(to, ",\"cpu_ns\":");
	to = write_null_or(to, c->has_cpu, c->cpu_ns);
	to = json_lit(to, ",\"process_count\":");
	to = json_u64(to, c->processes);
	to = json_lit(to, ",\"rss_kb\":");
	to = json_u64(to, c->rss_kb);
	to = json_lit(to, ",\"vsz_kb\":");
	to = json_u64(to, c->vsz_kb);
	to = json_lit(to, ",\"processes\":[");
	for (; c; c = c->more)
		to = write_processes(to, c);
	json_wrote(j, json_lit(to, "]}"));
}

static void write_host(struct json *j, struct snapshot *s)
{
	char *to = json_end(j);

	to = json_lit(to, "{\"format\":1,\"cgroup\":");
	to = json_u64(to, s->v2 ? 2 : 1);
	to = json_lit(to, ",\"boottime_ns\":");
	to = json_u64(to, s->boottime_ns);
	to = json_lit(to, ",\"total_memory_kb\":");
	to = json_u64(to, s->total_kb);
	to = json_lit(to, ",\"free_memory_kb\":");
	to = json_u64(to, s->free_kb);
	to = json_lit(to, ",\"used_memory_kb\":");
	to = json_u64(to, s->total_kb - s->free_kb);
	to = json_lit(to, ",\"available_memory_kb\":");
	to = json_u64(to, pages_to_kb(max(si_mem_available(), 0L)));
	json_wrote(j, json_lit(to, ",\"containers\":["));
}

/* Writes all that lies with the first walker, and in @text bytes of processes. */
static int write_document(struct json *j, struct snapshot *s, size_t text)
{
	struct walker *w = &s->walker[0];
	unsigned int i;
	int err;

	/* A process takes a comma, which is less than the piece before it. */
	err = json_reserve(j, (w->count + 1UL) * ROOM + text);
	if (err)
		return err;
	write_host(j, s);
	for (i = 0; i < w->count; i++) {
		if (i)
			json_wrote(j, json_lit(json_end(j), ","));
		write_container(j, &w->containers[i]);
	}
	json_wrote(j, json_lit(json_end(j), "]}\n"));
	return 0;
}

static struct snapshot *snapshot_new(void)
{
	unsigned int i, walkers;
	struct sysinfo memory;
	struct snapshot *s;

	walkers = min3(READ_ONCE(text_hint) / WALKER_TEXT + 1, WALKERS_MAX,
		       (unsigned long)num_online_cpus());
	s = kzalloc(struct_size(s, walker, walkers), GFP_KERNEL_ACCOUNT);
	if (!s)
		return NULL;
	si_meminfo(&memory);
	s->v2 = memory_cgrp_subsys.root == &cgrp_dfl_root;
	s->all = READ_ONCE(processes);
	s->boottime_ns = ktime_get_boottime_ns();
	s->total_kb = pages_to_kb(memory.totalram);
	s->free_kb = pages_to_kb(memory.freeram);
	s->limit = min_t(u64, DOCUMENT_MAX, s->total_kb * 1024 / 8);
	s->reader = current;
	s->payer = get_mem_cgroup_from_mm(current->mm);
	spin_lock_init(&s->lock);
	s->next_pid = 1;
	s->walkers = walkers;
	for (i = 0; i < walkers; i++) {
		s->walker[i].s = s;
		s->walker[i].text.limit = s->limit / walkers;
		INIT_WORK(&s->walker[i].work, walk_elsewhere);
	}
	return s;
}

static void snapshot_free(struct snapshot *s)
{
	unsigned int i;

	for (i = 0; i < s->walkers; i++) {
		struct walker *w = &s->walker[i];

		kvfree(w->containers);
		kvfree(w->by_hash);
		json_free(&w->text);
		free_page((unsigned long)w->page);
	}
	mem_cgroup_put(s->payer);
	kfree(s);
}

/* Takes a snapshot and writes it to @doc; nothing is left there on an error. */
static int snapshot_take(struct json *doc)
{
	struct snapshot *s;
	size_t text = 0;
	unsigned int i;
	int err;

	s = snapshot_new();
	if (!s)
		return -ENOMEM;
	doc->limit = s->limit;
	err = walk_all(s);
	for (i = 0; i < s->walkers; i++)
		text += s->walker[i].text.len;
	if (!err)
		err = write_document(doc, s, text);
	if (!err) {
		WRITE_ONCE(text_hint, text);
		WRITE_ONCE(count_hint, s->walker[0].count);
		forget_cpu(&s->walker[0]);
	} else {
		json_free(doc);
	}
	snapshot_free(s);
	return err;
}

static int winnow_open(struct inode *inode, struct file *file)
{
	struct json *doc;
	int err;

	/*
	 * A container's /proc shows this file too, and its root may open it;
	 * what it says of the whole host is not for those inside.
	 */
	if (task_active_pid_ns(current) != &init_pid_ns)
		return -EACCES;
	doc = kzalloc(sizeof(*doc), GFP_KERNEL_ACCOUNT);
	if (!doc)
		return -ENOMEM;
	err = snapshot_take(doc);
	if (err) {
		kfree(doc);
		return err;
	}
	file->private_data = doc;
	return 0;
}

static ssize_t winnow_read(struct file *file, char __user *to, size_t count,
			   loff_t *pos)
{
	struct json *doc = file->private_data;

	return simple_read_from_buffer(to, count, pos, doc->buf, doc->len);
}

static loff_t winnow_lseek(struct file *file, loff_t offset, int whence)
{
	struct json *doc = file->private_data;

	return fixed_size_llseek(file, offset, whence, doc->len);
}

static int winnow_release(struct inode *inode, struct file *file)
{
	struct json *doc = file->private_data;

	json_free(doc);
	kfree(doc);
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
	walk_queue = alloc_workqueue("winnow", WQ_UNBOUND, 0);
	if (!walk_queue)
		return -ENOMEM;
	entry = proc_create(name, mode, NULL, &winnow_ops);
	if (!entry) {
		destroy_workqueue(walk_queue);
		return -ENOMEM;
	}
	return 0;
}

static void __exit winnow_exit(void)
{
	proc_remove(entry);
	destroy_workqueue(walk_queue);
	xa_destroy(&shown_cpu);
}

module_init(winnow_init);
module_exit(winnow_exit);
MODULE_DESCRIPTION("Host memory and Docker containers in one read of /proc");
MODULE_AUTHOR("The winnow authors");
MODULE_LICENSE("GPL");
MODULE_VERSION(WINNOW_VERSION);
