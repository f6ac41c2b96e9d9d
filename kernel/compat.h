/* SPDX-License-Identifier: GPL-2.0 */
/* What differs between the kernels that winnow builds on: 5.10 and later. */
#ifndef WINNOW_COMPAT_H
#define WINNOW_COMPAT_H

#include <linux/cgroup.h>
#include <linux/kernfs.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/percpu_counter.h>
#include <linux/pid_namespace.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 10, 0)
#error "winnow needs Linux 5.10 or later"
#endif

#if !defined(CONFIG_64BIT) || !defined(CONFIG_MEMCG) || !defined(CONFIG_CGROUP_SCHED)
#error "winnow needs a 64-bit kernel with CONFIG_MEMCG and CONFIG_CGROUP_SCHED"
#endif

/* A cgroup's CPU time on one CPU lives in a struct of its own since 6.16. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
#define compat_cpu_stat cgroup_rstat_base_cpu
#define compat_cpu_stats(cgrp) ((cgrp)->rstat_base_cpu)
#else
#define compat_cpu_stat cgroup_rstat_cpu
#define compat_cpu_stats(cgrp) ((cgrp)->rstat_cpu)
#endif

/*
 * The multi-generational LRU keeps its own sizes; what is in none of its two
 * youngest generations is what the kernel's files call inactive.
 */
static inline u64 compat_inactive_file(struct lruvec *lruvec)
{
	u64 pages = 0;
#ifdef CONFIG_LRU_GEN
	int gen, zone;

	for (gen = 0; gen < MAX_NR_GENS; gen++) {
		const long *sizes = lruvec->lrugen.nr_pages[gen][LRU_GEN_FILE];

		if (lru_gen_is_active(lruvec, gen))
			continue;
		for (zone = 0; zone < MAX_NR_ZONES; zone++)
			pages += max(READ_ONCE(sizes[zone]), 0L);
	}
#endif
	return pages;
}

/* The name of a kernfs node, which is only to be looked at under RCU since 6.15. */
static inline const char *compat_kernfs_name(struct kernfs_node *kn)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 15, 0)
	return rcu_dereference(kn->name);
#else
	return kn->name;
#endif
}

/* The first pid from @nr on; the kernel's own is exported since 5.19. */
static inline struct pid *compat_find_ge_pid(int nr)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 19, 0)
	return find_ge_pid(nr, &init_pid_ns);
#else
	return idr_get_next(&init_pid_ns.idr, &nr);
#endif
}

/*
 * A page of a process's anonymous memory, if it is there: 1, to be given back
 * with put_page(). Nothing is faulted in. Before 5.16 that could not be asked;
 * there the reading of a page that was swapped out is begun, but not waited for.
 */
static inline long compat_get_present_page(struct mm_struct *mm,
					   unsigned long at, struct page **page)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	return get_user_pages_remote(mm, at, 1, FOLL_ANON | FOLL_FORCE | FOLL_NOFAULT,
				     page, NULL);
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(5, 16, 0)
	return get_user_pages_remote(mm, at, 1, FOLL_ANON | FOLL_FORCE | FOLL_NOFAULT,
				     page, NULL, NULL);
#else
	return get_user_pages_remote(mm, at, 1, FOLL_ANON | FOLL_FORCE | FOLL_DUMP | FOLL_NOWAIT,
				     page, NULL, NULL);
#endif
}

/* Resident pages: since 6.2 what get_mm_rss() gives lags behind on each CPU. */
static inline u64 compat_mm_rss(struct mm_struct *mm)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	return percpu_counter_sum_positive(&mm->rss_stat[MM_FILEPAGES]) +
	       percpu_counter_sum_positive(&mm->rss_stat[MM_ANONPAGES]) +
	       percpu_counter_sum_positive(&mm->rss_stat[MM_SHMEMPAGES]);
#else
	return get_mm_rss(mm);
#endif
}

/* Those that a thread counts for itself until there are some dozens of them. */
static inline long compat_thread_rss(struct task_struct *thread)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0) && defined(SPLIT_RSS_COUNTING)
	return thread->rss_stat.count[MM_FILEPAGES] +
	       thread->rss_stat.count[MM_ANONPAGES] +
	       thread->rss_stat.count[MM_SHMEMPAGES];
#else
	return 0;
#endif
}

#endif
