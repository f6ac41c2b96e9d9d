package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"
)

// hold gives a descriptor of the container's process, by which it can be ended
// without waiting for Docker: that runs a program for each signal, which takes
// seconds where memory is short, and has taken more than a minute. It gives 0 where
// Docker would start it again, and where it cannot be seen from here.
func hold(found *container.InspectResponse) (process int) {
	pid := found.State.Pid
	if pid <= 1 || found.ID == "" || found.HostConfig == nil || !found.HostConfig.RestartPolicy.IsNone() {
		return 0
	}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0
	}
	// What the descriptor is of has not ended as long as the number is its own: the
	// container's process, if its cgroup is.
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !strings.Contains(string(groups), found.ID) {
		unix.Close(process)
		return 0
	}
	return process
}

// endHeld ends what hold gave, and tells whether it was still there. Docker is asked
// to stop the container all the same, as ever.
func endHeld(process int) bool {
	if unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0) != nil {
		return false
	}
	// Where it hangs on memory itself, its own is taken from it; not by kernels before 5.15.
	if own, err := unix.FcntlInt(uintptr(process), unix.F_DUPFD_CLOEXEC, 0); err == nil {
		go func() {
			unix.Syscall(unix.SYS_PROCESS_MRELEASE, uintptr(own), 0, 0)
			unix.Close(own)
		}()
	}
	return true
}

// endNow ends a container that Docker has just told of.
func endNow(found *container.InspectResponse) bool {
	process := hold(found)
	if process == 0 {
		return false
	}
	defer unix.Close(process)
	return endHeld(process)
}
