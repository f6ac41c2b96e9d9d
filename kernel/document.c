// SPDX-License-Identifier: GPL-2.0
/*
 * The document. Each process is written as JSON as soon as it is met, behind a
 * piece that tells where the next one of its container lies; at the end the
 * containers are written one by one, with what lies in their lists. The text
 * grows by chunks, so nothing is copied but once, into the document, whose
 * size is known by then.
 */
#include <linux/vmalloc.h>

#include "json.h"
#include "winnow.h"

/* Goes before each process in the text. */
struct piece {
	size_t next;		/* where the container's next one lies; 0 for the last */
	size_t len;
};

static char *text_at(struct snapshot *s, size_t at)
{
	return s->chunk[at / CHUNK] + at % CHUNK;
}

/* Room for @size bytes in one piece, below @limit: NULL where there is none. */
static void *reserve(struct snapshot *s, size_t size, size_t limit)
{
	char **chunk;

	if (s->len % CHUNK + size > CHUNK)
		s->len = round_up(s->len, CHUNK);
	if (s->len + size > limit)
		return NULL;
	chunk = &s->chunk[s->len / CHUNK];
	if (!*chunk)
		*chunk = __vmalloc(CHUNK, WINNOW_GFP);
	return *chunk ? text_at(s, s->len) : ERR_PTR(-ENOMEM);
}

/* Adds a container to the snapshot's list. */
struct container *new_container(struct snapshot *s,
				const struct container *found)
{
	struct container *c;

	if ((s->count + 2UL) * ROOM > s->limit - TEXT_OF(s->limit))
		return ERR_PTR(-EFBIG);
	s->len = round_up(s->len, sizeof(u64));
	c = reserve(s, sizeof(*c), s->limit);
	if (IS_ERR_OR_NULL(c))
		return c ? c : ERR_PTR(-EFBIG);
	*c = *found;
	s->len += sizeof(*c);
	s->count++;
	*s->end = c;
	s->end = &c->next;
	return c;
}

/*
 * Room for a process of at most @more bytes; NULL where there is none. That is
 * so too where its container has had its share, a 32nd of what there is still:
 * however many processes one has, there is room for another's, and for each
 * one's @oldest.
 */
char *text_reserve(struct snapshot *s, const struct container *c, bool oldest,
		   size_t more)
{
	size_t limit = TEXT_OF(s->limit);
	char *to;

	if (!oldest && c->text + more > (limit - min(s->len, limit)) / 32)
		return NULL;
	to = reserve(s, sizeof(struct piece) + more, limit);
	return IS_ERR_OR_NULL(to) ? to : to + sizeof(struct piece);
}

/* Adds what was written up to @end to the container's list, or instead of it. */
void text_add(struct snapshot *s, struct container *c, const char *end)
{
	struct piece piece = {
		.len = end - text_at(s, s->len) - sizeof(piece),
	};

	memcpy(text_at(s, s->len), &piece, sizeof(piece));
	if (c->first && s->all)
		memcpy(text_at(s, c->last) + offsetof(struct piece, next), &s->len, sizeof(s->len));
	else
		c->first = s->len;
	c->last = s->len;
	c->text += sizeof(piece) + piece.len;
	s->len += sizeof(piece) + piece.len;
}

static char *write_processes(char *to, struct snapshot *s, size_t at)
{
	struct piece piece;

	for (; at; at = piece.next) {
		memcpy(&piece, text_at(s, at), sizeof(piece));
		to = json_raw(to, text_at(s, at) + sizeof(piece), piece.len);
		if (piece.next)
			*to++ = ',';
	}
	return to;
}

static char *write_container(char *to, struct snapshot *s,
			     const struct container *c)
{
	to = json_lit(to, "\n{\"id\":\"");
	to = json_raw(to, c->id, ID_LEN);
	to = json_lit(to, "\",\"engine\":\"");
	to = json_raw(to, c->engine, strlen(c->engine));
	to = json_lit(to, "\",\"cgroup_id\":");
	to = json_u64(to, c->cgroup);
	to = json_lit(to, ",\"at_ns\":");
	to = json_u64(to, c->at_ns);
	to = json_lit(to, ",\"memory_kb\":");
	to = c->memory_kb == NONE ? json_lit(to, "null") : json_u64(to, c->memory_kb);
	to = json_lit(to, ",\"memory_limit_kb\":");
	to = c->memory_limit_kb == NONE ? json_lit(to, "null") : json_u64(to, c->memory_limit_kb);
	to = json_lit(to, ",\"cpu_ns\":");
	to = c->cpu_ns == NONE ? json_lit(to, "null") : json_u64(to, c->cpu_ns);
	to = json_lit(to, ",\"cpu_limit_percent\":");
	to = c->cpu_limit == NONE ? json_lit(to, "null") : json_hundredths(to, c->cpu_limit);
	to = json_lit(to, ",\"process_count\":");
	to = json_u64(to, c->processes);
	to = json_lit(to, ",\"rss_kb\":");
	to = json_u64(to, c->rss_kb);
	to = json_lit(to, ",\"vsz_kb\":");
	to = json_u64(to, c->vsz_kb);
	to = json_lit(to, ",\"processes\":[");
	to = write_processes(to, s, c->first);
	return json_lit(to, "]}");
}

static char *write_host(char *to, struct snapshot *s)
{
	to = json_lit(to, "{\"format\":1,\"cgroup\":");
	to = json_u64(to, s->v2 ? 2 : 1);
	to = json_lit(to, ",\"boottime_ns\":");
	to = json_u64(to, s->start_ns);
	to = json_lit(to, ",\"total_memory_kb\":");
	to = json_u64(to, s->total_kb);
	to = json_lit(to, ",\"free_memory_kb\":");
	to = json_u64(to, s->free_kb);
	to = json_lit(to, ",\"used_memory_kb\":");
	to = json_u64(to, s->total_kb - s->free_kb);
	to = json_lit(to, ",\"available_memory_kb\":");
	to = json_u64(to, pages_to_kb(max(si_mem_available(), 0L)));
	return json_lit(to, ",\"containers\":[");
}

/* The whole document, to be freed with vfree(). */
struct document *write_document(struct snapshot *s)
{
	/* A process takes a comma, which is less than the piece before it. */
	size_t size = (s->count + 1UL) * ROOM + s->len;
	struct document *doc = __vmalloc(sizeof(*doc) + size, WINNOW_GFP);
	struct container *c;
	char *to;

	if (!doc)
		return ERR_PTR(-ENOMEM);
	to = write_host(doc->text, s);
	for (c = s->first; c; c = c->next) {
		to = write_container(to, s, c);
		if (c->next)
			*to++ = ',';
		cond_resched();
	}
	to = json_lit(to, "]}\n");
	doc->len = to - doc->text;
	return doc;
}
