/* SPDX-License-Identifier: GPL-2.0 */
/* What the module's parts share: a snapshot, and what each does to it. */
#ifndef WINNOW_H
#define WINNOW_H

#include <linux/err.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/xarray.h>

/* Charged to the reader, and never worth waking the OOM killer for. */
#define WINNOW_GFP (GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

/* A quarter of a document is for the containers, the rest for their processes. */
#define DOCUMENT_MAX (32UL << 20)
#define TEXT_OF(document) ((document) / 4 * 3)
#define CHUNK (64UL * 1024)
#define CHUNKS_MAX (DOCUMENT_MAX / CHUNK)

/* What a container or a process takes at most, its command line aside. */
#define ROOM 512

#define ID_LEN 64
#define CMDLINE_MAX 4096U
#define NONE U64_MAX		/* not known, or no limit: null in the document */

struct container {
	struct container *next;	/* in the order in which they were met */
	u64 cgroup;		/* the cgroup's id: its directory's inode number */
	const char *engine;
	char id[ID_LEN];
	u64 at_ns;		/* when the figures were read */
	u64 memory_kb;
	u64 memory_limit_kb;
	u64 cpu_ns;
	u64 cpu_limit;		/* in hundredths of a percent of a core */
	u64 rss_kb;		/* summed over the processes, as vsz_kb */
	u64 vsz_kb;
	u64 oldest_ns;		/* when its oldest process started */
	unsigned int processes;
	size_t first;		/* where in the text its first process lies, or 0 */
	size_t last;
	size_t text;		/* what its processes take there */
};

struct snapshot {
	bool v2;
	bool all;		/* list every process, not only the oldest */
	unsigned int cmdline_max;
	u64 start_ns;
	u64 total_kb;
	u64 free_kb;
	size_t limit;		/* of the document, in bytes */
	u64 outside;		/* the last cgroup seen to be in no container */
	struct xarray by_cgroup;	/* the containers, by the cgroup's id */
	struct container *first;
	struct container **end;	/* where the next one goes */
	unsigned int count;
	size_t len;		/* of the containers and the text */
	char *chunk[CHUNKS_MAX];
	u8 cmdline[CMDLINE_MAX];
};

struct document {
	size_t len;
	char text[];
};

static inline u64 pages_to_kb(u64 pages)
{
	return pages << (PAGE_SHIFT - 10);
}

struct container *task_container(struct snapshot *s, struct task_struct *task,
				 struct container *found);
struct container *add_container(struct snapshot *s,
				const struct container *found);
void forget_containers(struct snapshot *s);
void forget_all_containers(void);

int walk_processes(struct snapshot *s);

struct container *new_container(struct snapshot *s,
				const struct container *found);
char *text_reserve(struct snapshot *s, const struct container *c, bool oldest,
		   size_t more);
void text_add(struct snapshot *s, struct container *c, const char *end);
struct document *write_document(struct snapshot *s);

#endif
