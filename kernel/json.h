/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A JSON writer into one growing buffer.
 *
 * The caller reserves room for the most that it is about to write and then
 * writes without further checks: a document has many small fields, and a
 * check for each is what makes seq_file slow. Only json_reserve() can fail.
 */
#ifndef WINNOW_JSON_H
#define WINNOW_JSON_H

#include <linux/errno.h>
#include <linux/gfp.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/string.h>
#include <linux/types.h>

/* Charged to the reader, and never worth waking the OOM killer for. */
#define JSON_GFP (GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

#define JSON_U64_MAX 20		/* digits of the largest number */
#define JSON_ESCAPE_MAX 6	/* bytes that one byte can turn into: \u0001 */

struct json {
	char *buf;
	size_t len;
	size_t size;
	size_t limit;		/* the size is never grown beyond this */
};

static inline void json_free(struct json *j)
{
	kvfree(j->buf);
	j->buf = NULL;
	j->len = 0;
	j->size = 0;
}

/* Makes room for @more bytes: 0, -EFBIG beyond the limit, or -ENOMEM. */
static inline int json_reserve(struct json *j, size_t more)
{
	size_t size;
	char *buf;

	if (more <= j->size - j->len)
		return 0;
	if (more > j->limit - j->len)
		return -EFBIG;
	size = min(max(j->len + more, j->size * 2), j->limit);
	buf = kvmalloc(size, JSON_GFP);
	if (!buf)
		return -ENOMEM;
	if (j->len)
		memcpy(buf, j->buf, j->len);
	kvfree(j->buf);
	j->buf = buf;
	j->size = size;
	return 0;
}

static inline void json_raw(struct json *j, const char *text, size_t len)
{
	memcpy(j->buf + j->len, text, len);
	j->len += len;
}

/* A literal: its length is known when this is compiled. */
#define json_lit(j, text) json_raw(j, text, sizeof(text) - 1)

static inline void json_u64(struct json *j, u64 value)
{
	char digits[JSON_U64_MAX];
	int at = sizeof(digits);

	/* Two at a time: the wide division is what takes long. */
	while (value >= 10) {
		unsigned int pair = value % 100;

		value /= 100;
		digits[--at] = '0' + pair % 10;
		digits[--at] = '0' + pair / 10;
	}
	/* What is left is one digit, or none after an even number of them. */
	if (value || at == sizeof(digits))
		digits[--at] = '0' + value;
	json_raw(j, digits + at, sizeof(digits) - at);
}

/* Hundredths as a number with two decimals. */
static inline void json_hundredths(struct json *j, u64 value)
{
	json_u64(j, value / 100);
	j->buf[j->len++] = '.';
	j->buf[j->len++] = '0' + value / 10 % 10;
	j->buf[j->len++] = '0' + value % 10;
}

/*
 * The length of the UTF-8 sequence at @p, which holds @n bytes: 0 where it is
 * none, -1 where the bytes end before it does.
 */
static inline int json_utf8(const u8 *p, size_t n)
{
	u8 low = 0x80, high = 0xbf;
	int size, i;

	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	size = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (p[0] == 0xe0)	/* longer than needed */
		low = 0xa0;
	else if (p[0] == 0xed)	/* surrogates */
		high = 0x9f;
	else if (p[0] == 0xf0)	/* longer than needed */
		low = 0x90;
	else if (p[0] == 0xf4)	/* beyond U+10FFFF */
		high = 0x8f;
	for (i = 1; i < size; i++) {
		if (i == n)
			return -1;
		if (p[i] < low || p[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return size;
}

static inline void json_control(struct json *j, u8 c)
{
	static const char hex[] = "0123456789abcdef";

	json_lit(j, "\\u00");
	j->buf[j->len++] = hex[c >> 4];
	j->buf[j->len++] = hex[c & 15];
}

/*
 * Writes @n bytes as the inside of a JSON string; JSON_ESCAPE_MAX times @n must
 * be reserved. Each byte that is not part of valid UTF-8 becomes U+FFFD. Unless
 * @final, a sequence that the end cuts off is left for the next call. Returns
 * how many bytes were used.
 */
static inline size_t json_escape(struct json *j, const u8 *p, size_t n,
				 bool final)
{
	size_t i = 0;
	int size;

	while (i < n) {
		u8 c = p[i];

		if (c >= 0x80) {
			size = json_utf8(p + i, n - i);
			if (size < 0 && !final)
				break;
			if (size > 0) {
				json_raw(j, p + i, size);
				i += size;
				continue;
			}
			json_lit(j, "\xef\xbf\xbd");
		} else if (c < 0x20) {
			json_control(j, c);
		} else {
			if (c == '"' || c == '\\')
				j->buf[j->len++] = '\\';
			j->buf[j->len++] = c;
		}
		i++;
	}
	return i;
}

#endif
