/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Writes JSON. Each function writes to @to, where the caller has made room for
 * the most that it can be, and returns where to go on: a document has many
 * small fields, and a check for each is what makes seq_file slow.
 */
#ifndef WINNOW_JSON_H
#define WINNOW_JSON_H

#include <linux/string.h>

#define JSON_U64_MAX 20		/* digits of the largest number */
#define JSON_ESCAPE_MAX 6	/* bytes that one byte can turn into: \u0001 */

static inline char *json_raw(char *to, const void *text, size_t len)
{
	memcpy(to, text, len);
	return to + len;
}

/* A literal: its length is known when this is compiled. */
#define json_lit(to, text) json_raw(to, text, sizeof(text) - 1)

/* Two digits at a time: the wide division is what takes long. */
static inline char *json_u64(char *to, u64 value)
{
	char *at, *end = to + 1;
	u64 ten;

	for (ten = 10; value >= ten && end < to + JSON_U64_MAX; ten *= 10)
		end++;
	for (at = end; value >= 10; value /= 100) {
		unsigned int pair = value % 100;

		*--at = '0' + pair % 10;
		*--at = '0' + pair / 10;
	}
	if (at > to)
		*to = '0' + value;
	return end;
}

/* Hundredths as a number with two decimals. */
static inline char *json_hundredths(char *to, u64 value)
{
	to = json_u64(to, value / 100);
	*to++ = '.';
	*to++ = '0' + value / 10 % 10;
	*to++ = '0' + value % 10;
	return to;
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

/* A control character; NULs stand between arguments and become spaces. */
static inline char *json_control(char *to, u8 c)
{
	static const char hex[] = "0123456789abcdef";

	if (!c) {
		*to++ = ' ';
		return to;
	}
	to = json_lit(to, "\\u00");
	*to++ = hex[c >> 4];
	*to++ = hex[c & 15];
	return to;
}

/*
 * Writes @n bytes of @text as the inside of a string, JSON_ESCAPE_MAX times as
 * many at most. Each byte that is not part of valid UTF-8 becomes U+FFFD; but
 * unless @final, a sequence that the end cuts off is left out.
 */
static inline char *json_escape(char *to, const void *text, size_t n, bool final)
{
	static const bool plain[256] = {
		[' ' ... '!'] = true, ['#' ... '['] = true, [']' ... 0x7f] = true,
	};
	const u8 *p = text, *end = p + n;

	while (p < end) {
		u8 c = *p;
		int size;

		if (plain[c]) {
			*to++ = c;
		} else if (c >= 0x80) {
			size = json_utf8(p, end - p);
			if (size < 0 && !final)
				break;
			if (size > 0) {
				to = json_raw(to, p, size);
				p += size;
				continue;
			}
			to = json_lit(to, "\xef\xbf\xbd");
		} else if (c < 0x20) {
			to = json_control(to, c);
		} else {
			*to++ = '\\';
			*to++ = c;
		}
		p++;
	}
	return to;
}

#endif
