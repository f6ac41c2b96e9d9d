package scripts

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// space is a network of a test's own, for as long as its process lives.
type space struct{ pid int }

func newSpace(t *testing.T) space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make networks")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip: install iproute2")
	}
	cmd := exec.Command("unshare", "--net", "sleep", "infinity")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if !within(patience, func() bool {
		its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
		return err == nil && its != ours
	}) {
		t.Fatal("no network of its own")
	}
	return space{cmd.Process.Pid}
}

// command is one that runs in this network.
func (s space) command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--target", strconv.Itoa(s.pid), "--net", "--", name}, args...)...)
}

func (s space) ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := s.command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// newSwitch is a network at address, to which others are plugged in.
func newSwitch(t *testing.T, address string) space {
	t.Helper()
	s := newSpace(t)
	s.ip(t, "link", "set", "lo", "up")
	s.ip(t, "link", "add", "switch", "type", "bridge")
	s.ip(t, "addr", "add", address+"/24", "dev", "switch")
	s.ip(t, "link", "set", "switch", "up")
	return s
}

// plug gives a network at address with a cable to the switch, whose end there has the name.
func (s space) plug(t *testing.T, name, address string) space {
	t.Helper()
	host := newSpace(t)
	host.ip(t, "link", "add", "eth0", "type", "veth", "peer", "name", name, "netns", strconv.Itoa(s.pid))
	host.ip(t, "addr", "add", address+"/24", "dev", "eth0")
	host.ip(t, "link", "set", "eth0", "up")
	s.mend(t, name)
	return host
}

// cut has nothing come through the cable, as when it is pulled: nobody is told.
func (s space) cut(t *testing.T, name string) { s.ip(t, "link", "set", name, "down") }

func (s space) mend(t *testing.T, name string) {
	t.Helper()
	s.ip(t, "link", "set", name, "master", "switch", "up")
}
