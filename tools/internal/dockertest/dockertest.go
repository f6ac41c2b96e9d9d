// Package dockertest gives tests real containers: an image made on the spot,
// and containers of it that are gone when the test is. Or an engine that only
// acts.
package dockertest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"winnow/tools/internal/full"
)

// Client connects to the engine that the environment names. Where none
// answers, the test is skipped.
func Client(t testing.TB) *client.Client {
	t.Helper()
	full.Needs(t, "Docker")
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { docker.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := docker.Ping(ctx); err != nil {
		t.Skipf("needs a Docker engine: %v", err)
	}
	return docker
}

// lock keeps the tests of other packages from making the image as well, which
// would take its name from the one that containers run, until f is closed.
func lock() (f *os.File, err error) {
	path := filepath.Join(os.TempDir(), "winnow-test-image.lock")
	if f, err = os.Open(path); err != nil { // another user's may be opened, but not with O_CREATE
		f, err = os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o644)
	}
	if err != nil {
		return nil, err
	}
	return f, syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
}

// Engine puts an engine that the test makes up into the environment: it answers
// a ping and what is added to its handlers, whose paths begin with /v1.41.
func Engine(t testing.TB) (handlers *http.ServeMux) {
	t.Helper()
	handlers = http.NewServeMux()
	handlers.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("API-Version", "1.41") })
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handlers)
	server.Listener = listener
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections() // Close alone waits for answers that a test holds back
		server.Close()
	})
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	return handlers
}

// Image makes the test image where the engine lacks it, and names it. Its one
// program rests, unless its arguments say more: -memory MIB, -file MIB,
// -cpu PERCENT, -ignore-term.
func Image(t testing.TB) string {
	t.Helper()
	docker := Client(t)
	program, err := program()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("winnow-test:%.6x", sha256.Sum256(program))
	making, err := lock()
	if err != nil {
		t.Fatal(err)
	}
	defer making.Close()
	if _, err := docker.ImageInspect(t.Context(), name); err == nil {
		return name
	}
	response, err := docker.ImageBuild(t.Context(), buildContext(program),
		build.ImageBuildOptions{Tags: []string{name}, Remove: true, ForceRemove: true})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if _, missing := docker.ImageInspect(t.Context(), name); missing != nil {
		t.Fatalf("building %s: %v\n%s", name, err, said)
	}
	return name
}

// program is the image's, built once a process.
var program = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "winnow-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "load")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path,
		"winnow/tools/internal/dockertest/testdata/load")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", cmd, err, said)
	}
	return os.ReadFile(path)
})

func buildContext(program []byte) io.Reader {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, mode int64, content []byte) {
		w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))})
		w.Write(content)
	}
	add("Dockerfile", 0o644, []byte("FROM scratch\nCOPY load /\nENTRYPOINT [\"/load\"]\n"))
	add("load", 0o755, program)
	w.Close()
	return &b
}

var notInNames = regexp.MustCompile(`[^a-zA-Z0-9]+`)

// Start runs a container of the test image, without a network, waits until it
// is ready, and gives its id. What config and host say goes before the defaults. The container is
// removed when the test ends.
func Start(t testing.TB, config container.Config, host container.HostConfig) string {
	t.Helper()
	docker := Client(t)
	if config.Image == "" {
		config.Image = Image(t)
	}
	if host.NetworkMode == "" {
		host.NetworkMode = "none"
	}
	// scripts/test removes what a test that was stopped has left.
	if run := os.Getenv("WINNOW_TEST_RUN"); run != "" {
		config.Labels = maps.Clone(config.Labels)
		if config.Labels == nil {
			config.Labels = make(map[string]string)
		}
		config.Labels["winnow-test-run"] = run
	}
	name := fmt.Sprintf("wtest-%s-%d", notInNames.ReplaceAllString(t.Name(), "-"), time.Now().UnixNano())
	made, err := docker.ContainerCreate(t.Context(), &config, &host, nil, nil, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		docker.ContainerRemove(context.Background(), made.ID, container.RemoveOptions{Force: true})
	})
	if err := docker.ContainerStart(t.Context(), made.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	waitUntilReady(t, docker, made.ID)
	return made.ID
}

// waitUntilReady waits for the first words of the container.
func waitUntilReady(t testing.TB, docker *client.Client, id string) {
	t.Helper()
	said, err := docker.ContainerLogs(t.Context(), id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	if _, err := io.ReadFull(said, make([]byte, 1)); err != nil {
		t.Fatalf("container %s said nothing: %v", id, err)
	}
}
