package bench

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// BenchmarkCycle measures a whole cycle that kills nothing, with its report
// and its delivery to logd, at 30 real containers.
func BenchmarkCycle(b *testing.B) {
	if out, err := exec.Command("docker", "version").CombinedOutput(); err != nil {
		b.Skipf("needs a Docker engine: %s", out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	state := b.TempDir()
	script := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command("../../../scripts/"+name, args...)
		cmd.Env = append(os.Environ(), "WINNOW_NAME=winnow-bench", "WINNOW_STATE="+state,
			"WINNOW_PORT="+strconv.Itoa(port), "WINNOW_SPAWN=30", "WINNOW_SPAWN_MAX=30",
			"WINNOW_SPAWN_CPUS=0.02", "WINNOW_KEEP_LOW=1000", "WINNOW_KEEP_HIGH=1000")
		return cmd
	}
	b.Cleanup(func() { script("down").Run() })
	for _, step := range [][]string{{"up"}, {"cron", "remove"}, {"spawn"}} {
		if out, err := script(step[0], step[1:]...).CombinedOutput(); err != nil {
			b.Fatalf("%v: %v\n%s", step, err, out)
		}
	}
	Compare(b, "cycle without kills at 30 containers", "docker stats --no-stream", 5,
		func() time.Duration { return Command(b, script("cycle")).Wall },
		func() time.Duration { return Command(b, exec.Command("docker", "stats", "--no-stream")).Wall })
}
