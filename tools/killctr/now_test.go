package main

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"winnow/tools/internal/dockertest"
	"winnow/tools/internal/filtertest"
)

// What is ended without Docker is the container that Docker told of, and only
// where Docker would not start it again.
func TestEndNow(t *testing.T) {
	docker := dockertest.Client(t)
	look := func(id string) *container.InspectResponse {
		found, err := docker.ContainerInspect(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return &found
	}
	id := victim(t, "idle")
	other := look(id)
	other.ID = filtertest.ID(1)
	if endNow(other) {
		t.Error("ended a process of another container")
	}
	again := dockertest.Start(t, container.Config{Cmd: []string{"idle"}, Labels: managed},
		container.HostConfig{RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyAlways}})
	if endNow(look(again)) {
		t.Error("ended what Docker starts again")
	}
	if !look(id).State.Running || !look(again).State.Running {
		t.Fatal("something has ended")
	}
	if !endNow(look(id)) {
		t.Fatal("not ended")
	}
	for deadline := time.Now().Add(time.Minute); look(id).State.Running; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("runs on")
		}
	}
	if code := look(id).State.ExitCode; code != 137 {
		t.Errorf("exit code %d, want 137", code)
	}
	if endNow(look(id)) {
		t.Error("ended it twice")
	}
}
