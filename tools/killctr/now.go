package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"
)

// endNow ends a container that has no grace without waiting for Docker, which
// runs a program for each signal: where memory is short that takes seconds, and
// has taken more than a minute. Docker is asked all the same, as ever. It tells
// whether the signal was sent: it leaves to Docker what Docker would start again,
// and what cannot be seen from here or is not ours to end.
func endNow(found *container.InspectResponse) bool {
	pid := found.State.Pid
	if pid <= 1 || found.ID == "" || found.HostConfig == nil || !found.HostConfig.RestartPolicy.IsNone() {
		return false
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	// What the descriptor is of has not ended as long as the number is its own: the
	// container's process, if its cgroup is.
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !strings.Contains(string(groups), found.ID) {
		return false
	}
	return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}
