// SPDX-License-Identifier: GPL-2.0
/*
 * Measures one read of the module against C programs that read the same
 * containers' cgroup files, in a machine that it fills with containers itself.
 *
 *	bench COUNT...
 *
 * For each count it prints a line: the count, and the median nanoseconds of the
 * module, of opening, reading and closing memory.current, memory.stat and
 * cpu.stat of each container, and of reading memory.current and cpu.stat of each
 * where the files are kept open; then of readsysinfo --source module, of cat on
 * the proc file, and of readsysinfo --help, which is its start.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup/docker"
#define ROUNDS 15

static const char *const files[] = { "memory.current", "cpu.stat", "memory.stat" };
static int (*kept)[2];
static char buf[64 << 20];

static void path_of(char *path, int n, const char *file)
{
	sprintf(path, ROOT "/%064x/%s", n, file);
}

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		err(1, "%s", path);
	close(fd);
}

/* Makes a container with one process, and keeps its files open. */
static void add(int n)
{
	char path[256];
	pid_t pid;
	int i;

	path_of(path, n, "");
	if (mkdir(path, 0755))
		err(1, "%s", path);
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		path_of(path, n, "cgroup.procs");
		write_to(path, "0");
		for (;;)
			pause();
	}
	for (i = 0; i < 2; i++) {
		path_of(path, n, files[i]);
		kept[n][i] = open(path, O_RDONLY);
		if (kept[n][i] < 0)
			err(1, "%s", path);
	}
}

static size_t read_module(int count)
{
	int fd = open("/proc/sysinfo_winnow", O_RDONLY);
	size_t len = 0;
	ssize_t n;

	(void)count;
	if (fd < 0)
		err(1, "/proc/sysinfo_winnow");
	while ((n = read(fd, buf + len, sizeof(buf) - len)) > 0)
		len += n;
	close(fd);
	return len;
}

static size_t read_files(int count)
{
	char path[256];
	size_t len = 0;
	int i, n, fd;

	for (n = 0; n < count; n++) {
		for (i = 0; i < 3; i++) {
			path_of(path, n, files[i]);
			fd = open(path, O_RDONLY);
			if (fd < 0)
				err(1, "%s", path);
			len += read(fd, buf, sizeof(buf));
			close(fd);
		}
	}
	return len;
}

static size_t read_kept(int count)
{
	size_t len = 0;
	int i, n;

	for (n = 0; n < count; n++)
		for (i = 0; i < 2; i++)
			len += pread(kept[n][i], buf, sizeof(buf), 0);
	return len;
}

static size_t run(const char *command, int count)
{
	if (system(command))
		errx(1, "%s", command);
	return (size_t)count * 20;
}

static size_t run_readsysinfo(int count)
{
	/* So short a span that the state keeps no more than between slow calls. */
	return run("exec ./readsysinfo --source module --state /tmp/state --span 100ms >/dev/null",
		   count);
}

static size_t run_cat(int count)
{
	return run("exec cat /proc/sysinfo_winnow >/dev/null", count);
}

static size_t run_start(int count)
{
	return run("exec ./readsysinfo --help >/dev/null", count);
}

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int later(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return (x > y) - (x < y);
}

/* Those that are compared take turns, so that what disturbs one disturbs all. */
static void measure(size_t (*const readers[3])(int), int count)
{
	long long took[3][ROUNDS];
	int i, round;

	for (round = -2; round < ROUNDS; round++) {
		for (i = 0; i < 3; i++) {
			long long start = now();
			size_t len = readers[i](count);

			if (len < (size_t)count * 20)
				errx(1, "only %zu bytes of %d containers", len, count);
			if (round >= 0)
				took[i][round] = now() - start;
		}
	}
	for (i = 0; i < 3; i++) {
		qsort(took[i], ROUNDS, sizeof(took[i][0]), later);
		printf(" %lld", took[i][ROUNDS / 2]);
	}
}

static void measure_all(int count)
{
	size_t (*const reads[])(int) = { read_module, read_files, read_kept };
	size_t (*const commands[])(int) = { run_readsysinfo, run_cat, run_start };

	printf("%d", count);
	measure(reads, count);
	measure(commands, count);
	printf("\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct rlimit files_limit = { 65536, 65536 };
	int made = 0, arg, count;

	if (setrlimit(RLIMIT_NOFILE, &files_limit))
		err(1, "setrlimit");
	if (mkdir(ROOT, 0755))
		err(1, ROOT);
	write_to(ROOT "/cgroup.subtree_control", "+memory +cpu");
	kept = calloc(65536, sizeof(*kept));
	for (arg = 1; arg < argc; arg++) {
		count = atoi(argv[arg]);
		while (made < count)
			add(made++);
		sleep(1);
		measure_all(count);
	}
	return 0;
}
