// SPDX-License-Identifier: GPL-2.0
/*
 * Which cgroup is a container, and what it uses.
 *
 * A container is a cgroup that one of the engines named so; what lies in it
 * belongs to it. Its figures are added up over the cgroups in it without a
 * flush, up to a bound: one with more gets null, and a reader takes them from
 * the container's files.
 */
#include <linux/memcontrol.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>

#include "compat.h"
#include "winnow.h"

/* How deep in the tree a container is looked for. */
#define DEPTH_MAX 16
/* How many cgroups are added up, and how many figures of their CPUs. */
#define BELOW_MAX 1000U
#define CPU_FIGURES_MAX 65536U

static const struct engine {
	const char *name, *prefix, *suffix;
} engines[] = {
	{ "docker", "", "" },
	{ "docker", "docker-", ".scope" },
	{ "podman", "libpod-", ".scope" },
	{ "podman", "libpod-", "" },
	{ "podman", "libpod-payload-", "" },
	{ "containerd", "cri-containerd-", ".scope" },
	{ "containerd", "nerdctl-", ".scope" },
	{ "crio", "crio-", ".scope" },
	{ "crio", "crio-", "" },
};

/* A longer name is no container's: "/cri-containerd-<id>.scope" and its NUL. */
#define NAME_SIZE (sizeof("/cri-containerd-.scope") + ID_LEN)

/*
 * The CPU time last shown of each container. Pending CPU time moves up the
 * cgroup tree in steps, and a snapshot can fall between two of them; a counter
 * that went back would be read as a restart.
 */
struct shown {
	u64 at_ns;
	u64 cpu_ns;
};

static DEFINE_XARRAY(shown_cpu);
static unsigned int shown_count;	/* under the array's lock */

/* Whether @s begins with an id; looks at nothing beyond its NUL. */
static bool is_id(const char *s)
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
				  char *path)
{
	int len;

	if (s->v2)
		return compat_kernfs_name(cgrp->kn);
	len = kernfs_path_from_node(cgrp->kn, cgroup_parent(cgrp)->kn, path, NAME_SIZE);
	return len > 0 && len < NAME_SIZE ? path + 1 : "";
}

/* The engine that named the cgroup as a container's; its id goes to @id. */
static const struct engine *container_name(struct snapshot *s,
					   struct cgroup *cgrp, char *id)
{
	char path[NAME_SIZE];
	const char *name = cgroup_name_of(s, cgrp, path);
	const struct engine *e;

	for (e = engines; e < engines + ARRAY_SIZE(engines); e++) {
		size_t prefix = strlen(e->prefix);

		if (!strncmp(name, e->prefix, prefix) && is_id(name + prefix) &&
		    !strcmp(name + prefix + ID_LEN, e->suffix)) {
			memcpy(id, name + prefix, ID_LEN);
			return e;
		}
	}
	return NULL;
}

/*
 * Whether what @parent holds by the bare id is containerd's: below kubepods, or
 * in one of its own namespaces.
 */
static bool is_containerds(struct snapshot *s, struct cgroup *parent)
{
	bool outermost = parent->level == 1;
	char path[NAME_SIZE];
	const char *name;

	for (; cgroup_parent(parent); parent = cgroup_parent(parent)) {
		name = cgroup_name_of(s, parent, path);
		if (!strcmp(name, "kubepods") || !strcmp(name, "kubepods.slice") ||
		    (outermost && (!strcmp(name, "default") || !strcmp(name, "k8s.io"))))
			return true;
	}
	return false;
}

/* Whether more lie below than are added up. Some may come yet: who adds counts. */
static bool has_more_below(struct cgroup *cgrp, int max)
{
	return READ_ONCE(cgrp->nr_descendants) + READ_ONCE(cgrp->nr_dying_descendants) > max;
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
	unsigned int below_max = min(BELOW_MAX, CPU_FIGURES_MAX / num_possible_cpus());
	struct cgroup_subsys_state *css;
	u64 total, moved, before = 0;
	unsigned int n;
	int tries;

	if (has_more_below(top, below_max))
		return NONE;
	for (tries = 0; tries < 3; tries++) {
		n = 0;
		total = 0;
		moved = 0;
		css_for_each_descendant_pre(css, &top->self) {
			if (n++ > below_max)
				return NONE;
			moved += add_cpu(css->cgroup, css == &top->self, &total);
		}
		if (tries && moved == before)
			break;
		/* Most have none below: there nothing waited, or just that has arrived. */
		smp_rmb(); /* what follows is to be read later than all above */
		if (n == 1 && total == READ_ONCE(top->bstat.cputime.sum_exec_runtime))
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
	unsigned int n = 0;

	if (has_more_below(top->cgroup, BELOW_MAX))
		return NONE;
	used = page_counter_read(&mem_cgroup_from_css(top)->memory);
	css_for_each_descendant_pre(css, top) {
		if (n++ > BELOW_MAX)
			return NONE;
		inactive += inactive_file(mem_cgroup_from_css(css));
	}
	return pages_to_kb(inactive < used ? used - inactive : used);
}

/*
 * What a file of the CPU controller says. Its figures are the scheduler's own;
 * what its files of cgroup v1 read, on v2 too, is there for who asks.
 */
static s64 read_cpu_file(struct cgroup_subsys_state *css, const char *name)
{
	struct cftype *file = css->ss->legacy_cftypes;

	for (; file && file->name[0]; file++) {
		if (strcmp(file->name, name))
			continue;
		if (file->read_s64)
			return file->read_s64(css, file);
		if (file->read_u64)
			return file->read_u64(css, file);
	}
	return -1;
}

/* In hundredths of a percent. */
static u64 read_cpu_limit(struct cgroup_subsys_state *css)
{
	s64 quota = read_cpu_file(css, "cfs_quota_us");
	s64 period = read_cpu_file(css, "cfs_period_us");

	return quota > 0 && period > 0 ? quota * 10000 / period : NONE;
}

static void measure(struct snapshot *s, struct cgroup *cgrp,
		    struct container *c)
{
	struct cgroup_subsys_state *css;
	unsigned long limit;

	c->cgroup = cgroup_id(cgrp);
	c->memory_kb = NONE;
	c->memory_limit_kb = NONE;
	c->cpu_ns = NONE;
	c->cpu_limit = NONE;
	css = rcu_dereference(cgrp->subsys[memory_cgrp_id]);
	if (css) {
		c->memory_kb = read_memory(css);
		limit = READ_ONCE(mem_cgroup_from_css(css)->memory.max);
		c->memory_limit_kb = limit < PAGE_COUNTER_MAX ? pages_to_kb(limit) : NONE;
	}
	c->at_ns = ktime_get_boottime_ns();
	if (!s->v2) /* cpuacct keeps its figures to itself */
		return;
	c->cpu_ns = read_cpu(cgrp);
	css = rcu_dereference(cgrp->subsys[cpu_cgrp_id]);
	if (css)
		c->cpu_limit = read_cpu_limit(css);
}

/* The cgroup that counts the task's memory, or on v2 all of its resources. */
static struct cgroup *task_cgroup_of(struct snapshot *s,
				     struct task_struct *task)
{
	if (s->v2)
		return task_dfl_cgroup(task);
	return task_css(task, memory_cgrp_id)->cgroup;
}

/*
 * The container that a task runs in, the outermost one: NULL for none, or one
 * that the snapshot knows, or @found with its figures. Under RCU.
 */
struct container *task_container(struct snapshot *s, struct task_struct *task,
				 struct container *found)
{
	const struct engine *engine = NULL, *e;
	struct cgroup *leaf, *cgrp, *top = NULL;
	struct container *known;

	leaf = task_cgroup_of(s, task);
	leaf = cgroup_ancestor(leaf, min(leaf->level, DEPTH_MAX));
	for (cgrp = leaf; cgroup_parent(cgrp) && cgroup_id(cgrp) != s->outside;
	     cgrp = cgroup_parent(cgrp)) {
		known = xa_load(&s->by_cgroup, cgroup_id(cgrp));
		if (known)
			return known;
		e = container_name(s, cgrp, found->id);
		if (e) {
			engine = e;
			top = cgrp;
		}
	}
	/* Most containers are siblings, and what is above them is looked at once. */
	s->outside = cgroup_id(top ? cgroup_parent(top) : leaf);
	if (!top)
		return NULL;
	found->engine = engine->name;
	if (!*engine->prefix && is_containerds(s, cgroup_parent(top)))
		found->engine = "containerd";
	measure(s, top, found);
	return found;
}

/* Keeps a container's CPU time from going back between two snapshots. */
static int hold_cpu(struct container *c)
{
	struct shown *shown, *mine = NULL;

	xa_lock(&shown_cpu);
	shown = xa_load(&shown_cpu, c->cgroup);
	if (!shown) {
		xa_unlock(&shown_cpu);
		mine = kzalloc(sizeof(*mine), GFP_KERNEL);
		if (!mine)
			return -ENOMEM;
		xa_lock(&shown_cpu);
		shown = __xa_cmpxchg(&shown_cpu, c->cgroup, NULL, mine, GFP_KERNEL);
		if (!shown) {
			swap(shown, mine);
			shown_count++;
		}
	}
	if (!xa_is_err(shown)) {
		/* What was read later may be shown before: then it is of that time. */
		if (shown->cpu_ns > c->cpu_ns)
			c->at_ns = max(c->at_ns, shown->at_ns);
		c->cpu_ns = max(c->cpu_ns, shown->cpu_ns);
		shown->cpu_ns = c->cpu_ns;
		shown->at_ns = max(c->at_ns, shown->at_ns);
	}
	xa_unlock(&shown_cpu);
	kfree(mine);
	return xa_err(shown);
}

/* Takes what task_container() has found into the snapshot. */
struct container *add_container(struct snapshot *s,
				const struct container *found)
{
	struct container *c = new_container(s, found);
	int err;

	if (IS_ERR(c))
		return c;
	err = xa_insert(&s->by_cgroup, c->cgroup, c, WINNOW_GFP);
	if (!err && c->cpu_ns != NONE)
		err = hold_cpu(c);
	return err ? ERR_PTR(err) : c;
}

/* Forgets those whose last was shown before this snapshot, and that it lacks. */
void forget_containers(struct snapshot *s)
{
	XA_STATE(xas, &shown_cpu, 0);
	struct shown *shown;

	xas_lock(&xas);
	if (shown_count > s->count) {
		xas_for_each(&xas, shown, ULONG_MAX) {
			if (shown->at_ns < s->start_ns && !xa_load(&s->by_cgroup, xas.xa_index)) {
				xas_store(&xas, NULL);
				kfree(shown);
				shown_count--;
			}
		}
	}
	xas_unlock(&xas);
}

void forget_all_containers(void)
{
	struct shown *shown;
	unsigned long cgroup;

	xa_for_each(&shown_cpu, cgroup, shown)
		kfree(shown);
	xa_destroy(&shown_cpu);
}
