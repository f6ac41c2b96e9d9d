// SPDX-License-Identifier: GPL-2.0
/*
 * The walk over all processes, and what is told of one.
 *
 * Nothing that a process does makes the reader wait: its memory is looked at
 * only where its lock is free and the page is there, and its threads are
 * counted up to a bound. What cannot be had so is null.
 */
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "json.h"
#include "winnow.h"

#define THREADS_MAX 10000

struct process {
	u64 start_ns;
	u64 cpu_ns;
	s64 rss_pages;
	u64 rss_kb;
	u64 vsz_kb;
	char state;
	char name[TASK_COMM_LEN];
	int cmdline;		/* its length, or -1 where it cannot be had */
	bool truncated;
};

/*
 * The CPU time of all threads, those that have exited included, and the pages
 * that each has still to add to its process's. Threads that exit all the time
 * must not hold the reader up, so it tries a few times only.
 */
static void add_threads(struct task_struct *leader, struct process *p)
{
	struct signal_struct *signal = leader->signal;
	struct task_struct *thread;
	int tries, threads;
	unsigned int seq;

	rcu_read_lock();
	for (tries = 0; tries < 3; tries++) {
		threads = 0;
		seq = read_seqbegin(&signal->stats_lock);
		p->cpu_ns = signal->sum_sched_runtime;
		p->rss_pages = 0;
		for_each_thread(leader, thread) {
			p->cpu_ns += READ_ONCE(thread->se.sum_exec_runtime);
			p->rss_pages += compat_thread_rss(thread);
			if (++threads > THREADS_MAX)
				break;
		}
		if (threads > THREADS_MAX || !read_seqretry(&signal->stats_lock, seq))
			break;
	}
	rcu_read_unlock();
	if (threads > THREADS_MAX)
		p->cpu_ns = NONE;
}

/* Copies memory that is there; returns how much, of @len bytes. */
static size_t copy_memory(struct mm_struct *mm, unsigned long at, u8 *to,
			  size_t len)
{
	size_t done = 0;

	while (done < len) {
		size_t n = min(len - done, PAGE_SIZE - offset_in_page(at));
		struct page *page;

		if (compat_get_present_page(mm, at, &page) != 1)
			break;
		memcpy(to + done, page_address(page) + offset_in_page(at), n);
		put_page(page);
		done += n;
		at += n;
	}
	return done;
}

/*
 * Reads the command line as /proc/<pid>/cmdline has it: where a process has
 * written over its arguments, the title that stands there instead.
 */
static int read_cmdline(struct snapshot *s, struct mm_struct *mm,
			bool *truncated)
{
	unsigned long start, end;
	size_t len, got;
	u8 last;

	spin_lock(&mm->arg_lock);
	start = mm->arg_start;
	end = mm->arg_end;
	spin_unlock(&mm->arg_lock);
	if (start >= end)
		return 0;
	len = min_t(size_t, end - start, s->cmdline_max);
	got = copy_memory(mm, start, s->cmdline, len);
	if (got && got == end - start)
		last = s->cmdline[got - 1];
	else if (!copy_memory(mm, end - 1, &last, 1) || (len && !got))
		return -1;
	*truncated = got < end - start;
	if (last) { /* a title, which ends at its NUL, wherever that is */
		got = copy_memory(mm, start, s->cmdline, s->cmdline_max);
		len = strnlen(s->cmdline, got);
		*truncated = len == got;
		got = len;
	}
	while (got && !s->cmdline[got - 1])
		got--;
	return got;
}

static void look_at(struct snapshot *s, struct task_struct *task,
		    struct process *p)
{
	struct mm_struct *mm;

	memset(p, 0, sizeof(*p));
	p->start_ns = task->start_boottime;
	add_threads(task, p);
	p->state = task_state_to_char(task);
	get_task_comm(p->name, task);
	mm = get_task_mm(task);
	if (!mm)
		return;
	p->rss_pages += compat_mm_rss(mm);
	p->rss_kb = pages_to_kb(max(p->rss_pages, 0LL));
	p->vsz_kb = pages_to_kb(mm->total_vm);
	p->cmdline = -1;
	if (mmap_read_trylock(mm)) {
		p->cmdline = read_cmdline(s, mm, &p->truncated);
		mmap_read_unlock(mm);
	}
	/* Were it the last to hold it, taking it down would be the reader's work. */
	mmput_async(mm);
}

static char *write_process(char *to, struct snapshot *s, int pid,
			   const struct process *p)
{
	to = json_lit(to, "{\"pid\":");
	to = json_u64(to, pid);
	to = json_lit(to, ",\"start_ns\":");
	to = json_u64(to, p->start_ns);
	to = json_lit(to, ",\"name\":\"");
	to = json_escape(to, p->name, strnlen(p->name, sizeof(p->name)), true);
	to = json_lit(to, "\",\"state\":\"");
	*to++ = p->state;
	to = json_lit(to, "\",\"cmdline\":");
	if (p->cmdline < 0) {
		to = json_lit(to, "null");
	} else {
		*to++ = '"';
		to = json_escape(to, s->cmdline, p->cmdline, !p->truncated);
		*to++ = '"';
	}
	to = json_lit(to, ",\"cmdline_truncated\":");
	to = p->truncated ? json_lit(to, "true") : json_lit(to, "false");
	to = json_lit(to, ",\"vsz_kb\":");
	to = json_u64(to, p->vsz_kb);
	to = json_lit(to, ",\"rss_kb\":");
	to = json_u64(to, p->rss_kb);
	to = json_lit(to, ",\"memory_percent\":");
	to = json_hundredths(to, (p->rss_kb * 10000 + s->total_kb / 2) / s->total_kb);
	to = json_lit(to, ",\"cpu_ns\":");
	to = p->cpu_ns == NONE ? json_lit(to, "null") : json_u64(to, p->cpu_ns);
	return json_lit(to, "}");
}

/* Counts a process into its container and writes it where it is listed. */
static int add_process(struct snapshot *s, struct container *c,
		       struct task_struct *task)
{
	struct process p;
	bool older;
	char *to;

	look_at(s, task, &p);
	c->rss_kb += p.rss_kb;
	c->vsz_kb += p.vsz_kb;
	older = !c->processes++ || p.start_ns < c->oldest_ns;
	if (older)
		c->oldest_ns = p.start_ns;
	else if (!s->all)
		return 0;
	to = text_reserve(s, c, older, ROOM + max(p.cmdline, 0) * JSON_ESCAPE_MAX);
	if (!IS_ERR_OR_NULL(to))
		text_add(s, c, write_process(to, s, task->tgid, &p));
	return PTR_ERR_OR_ZERO(to);
}

/*
 * Looks at the first process from @nr on, and moves @nr beyond it. Returns
 * false after the last one. A process of a container goes to @task with a
 * reference, its container to @of, which is @found where it is the first.
 */
static bool next_process(struct snapshot *s, int *nr, struct task_struct **task,
			 struct container **of, struct container *found)
{
	struct task_struct *leader;
	struct pid *pid;

	*task = NULL;
	rcu_read_lock();
	pid = compat_find_ge_pid(*nr);
	if (!pid) {
		rcu_read_unlock();
		return false;
	}
	*nr = pid_nr(pid) + 1;
	leader = pid_task(pid, PIDTYPE_TGID);
	/* As cgroup.procs: a process counts while a thread of it lives. */
	if (leader && !(leader->flags & PF_KTHREAD) &&
	    atomic_read(&leader->signal->live)) {
		*of = task_container(s, leader, found);
		if (*of)
			*task = get_task_struct(leader);
	}
	rcu_read_unlock();
	return true;
}

/* Walks the pids once, and counts each process of a container into it. */
int walk_processes(struct snapshot *s)
{
	struct container found = {}, *c;
	struct task_struct *task;
	int nr = 1, err = 0;

	while (!err && next_process(s, &nr, &task, &c, &found)) {
		cond_resched();
		if (fatal_signal_pending(current))
			err = -EINTR;
		if (!task)
			continue;
		if (c == &found)
			c = add_container(s, &found);
		if (!err)
			err = IS_ERR(c) ? PTR_ERR(c) : add_process(s, c, task);
		put_task_struct(task);
	}
	return err;
}
