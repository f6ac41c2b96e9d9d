package dockertest

import (
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
)

func TestStart(t *testing.T) {
	docker := Client(t)
	var id string
	t.Run("a container", func(t *testing.T) {
		id = Start(t, container.Config{Cmd: []string{"-cpu=5"}}, container.HostConfig{})
		got, err := docker.ContainerInspect(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if !got.State.Running {
			t.Errorf("not running: %+v", got.State)
		}
	})
	if _, err := docker.ContainerInspect(t.Context(), id); !errdefs.IsNotFound(err) {
		t.Errorf("left a container behind: %v", err)
	}
}
