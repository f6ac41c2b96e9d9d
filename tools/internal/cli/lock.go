package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// LockMemoryFlag declares --lock-memory, which Parse heeds: a stage that the host
// pages out is slow just when it is needed. Where it may not, it says so and goes on.
func (t *Tool) LockMemoryFlag() {
	t.lockMemory = t.Bool("lock-memory", false, "keep this program in memory, so that a host that is short of it does not page it out")
}

// lock locks each page once it is used, and those of the program now: what it needs
// under pressure it may never have run before. All that is mapped would be more by
// 70 to 120 MB, for Go maps far more than it uses.
func lock() error {
	if !mayLock() {
		return errors.New("RLIMIT_MEMLOCK bounds it, and CAP_IPC_LOCK is missing")
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("mlockall: %w", err)
	}
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil || !strings.HasSuffix(line, " "+program+"\n") {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MLOCK, from, to-from, 0); errno != 0 {
			return fmt.Errorf("mlock of %s: %w", program, errno)
		}
	}
	return nil
}

// mayLock tells whether there is no bound: with one, the program would end when it
// needs memory beyond that.
func mayLock() bool {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err == nil && limit.Cur == unix.RLIM_INFINITY {
		return true
	}
	var data [2]unix.CapUserData
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0
}
