/*
 * The peer of readsysinfo's benchmark: it opens, reads and closes the files
 * whose names it reads from stdin, one a line, and does nothing with them.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
	static char name[4096], buf[65536];

	while (fgets(name, sizeof(name), stdin)) {
		int fd;

		name[strcspn(name, "\n")] = '\0';
		fd = open(name, O_RDONLY);
		if (fd < 0) {
			perror(name);
			return EXIT_FAILURE;
		}
		while (read(fd, buf, sizeof(buf)) > 0)
			;
		close(fd);
	}
	return EXIT_SUCCESS;
}
