// Command load is the one program in the test image: a steady load, from when
// it says that it is ready until TERM or for ten minutes, so a test that dies leaves no container running for long.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// period is the span of which a part is spent busy.
const period = 20 * time.Millisecond

func main() {
	memory := flag.Int("memory", 0, "MiB to hold")
	file := flag.Int("file", 0, "MiB to write to a file, which stays in its cache")
	cpu := flag.Int("cpu", 0, "percent of a core to use")
	ignore := flag.Bool("ignore-term", false, "do not end on TERM")
	flag.Parse()

	term := make(chan os.Signal, 1)
	if *ignore {
		signal.Ignore(syscall.SIGTERM)
	} else {
		signal.Notify(term, syscall.SIGTERM) // the kernel gives a PID 1 no default action
	}
	held := make([]byte, *memory<<20)
	for i := 0; i < len(held); i += os.Getpagesize() {
		held[i] = 1
	}
	if *file > 0 {
		if err := os.WriteFile("/file", make([]byte, *file<<20), 0o600); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("ready")
	var wake <-chan time.Time
	if *cpu > 0 {
		wake = time.Tick(period)
	}
	for over := time.After(10 * time.Minute); ; {
		select {
		case <-term:
			return
		case <-over:
			return
		case start := <-wake:
			for time.Since(start) < period*time.Duration(*cpu)/100 {
				held = held[:len(held):len(held)] // keeps it from being collected
			}
		}
	}
}
