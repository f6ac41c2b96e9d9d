package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// heedSignals heeds those that reach the process, until it is restored. SIGHUP
// stays ignored where it is, as under nohup.
func heedSignals(interrupt, abandon context.CancelCauseFunc) (restore func()) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	go heed(signals, interrupt, abandon)
	return func() {
		signal.Stop(signals)
		close(signals)
	}
}

// heed interrupts at the first signal and abandons at a second one. A SIGHUP is
// never that: a terminal that closes sends several, and nobody is in a hurry.
func heed(signals <-chan os.Signal, interrupt, abandon context.CancelCauseFunc) {
	interrupted := false
	for s := range signals {
		interrupt(errInterrupted)
		if interrupted && s != syscall.SIGHUP {
			abandon(errAbandoned)
		}
		interrupted = true
	}
}
