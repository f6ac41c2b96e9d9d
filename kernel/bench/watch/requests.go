package main

import (
	"context"
	"io"
	"net/http"
	"time"
)

// count is what became of the requests to one address.
type count struct {
	all, lost int
	slowest   time.Duration
}

const (
	patience = time.Second // who has waited so long has gone
	between  = 200 * time.Millisecond
)

// ask asks until ctx ends, one request after the other.
func ask(ctx context.Context, url string) (c count) {
	client := &http.Client{Timeout: patience}
	tick := time.NewTicker(between)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return c
		case <-tick.C:
			start := time.Now()
			err := get(client, url)
			took := time.Since(start)
			c.all++
			if err != nil || took > patience {
				c.lost++
			}
			c.slowest = max(c.slowest, took)
		}
	}
}

func get(client *http.Client, url string) error {
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}
