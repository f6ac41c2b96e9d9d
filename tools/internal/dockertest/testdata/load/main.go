// Command load is the one program in the test image: it rests, ignores
// SIGTERM, burns CPU or holds memory. It ends by itself after ten minutes, so a
// test that dies leaves no container running for long.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/docker/go-units"
)

const usage = "usage: load sleep | ignore-term | spin PERCENT | hold SIZE"

func main() {
	time.AfterFunc(10*time.Minute, func() { os.Exit(0) })
	if err := load(append(os.Args[1:], "", "")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func load(args []string) error {
	mode, amount := args[0], args[1]
	if mode == "ignore-term" {
		signal.Ignore(syscall.SIGTERM)
		select {}
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM) // the kernel gives a PID 1 no default action
	switch mode {
	case "sleep":
		<-term
		return nil
	case "spin":
		percent, err := strconv.Atoi(amount)
		if err != nil || percent < 1 || percent > 100 {
			return fmt.Errorf("not a percentage: %q", amount)
		}
		spin(time.Duration(percent)*time.Millisecond, term)
		return nil
	case "hold":
		size, err := units.RAMInBytes(amount)
		if err != nil {
			return err
		}
		memory := make([]byte, size)
		for i := range memory {
			memory[i] = 1
		}
		<-term
		memory[0] = 0
		return nil
	}
	return fmt.Errorf("unknown mode %q\n%s", mode, usage)
}

// spin is busy for the given part of every 100 ms.
func spin(busy time.Duration, stop <-chan os.Signal) {
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		for start := time.Now(); time.Since(start) < busy; {
		}
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}
