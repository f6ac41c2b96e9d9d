// Command load is what the test's containers run: a steady load.
package main

import (
	"flag"
	"log"
	"os"
	"time"
)

func main() {
	memory := flag.Int("memory", 0, "MiB to hold")
	file := flag.Int("file", 0, "MiB to write to a file, which stays in its cache")
	cpu := flag.Int("cpu", 0, "percent of a core to use")
	flag.Parse()

	held := make([]byte, *memory<<20)
	for i := 0; i < len(held); i += 4096 {
		held[i] = 1
	}
	if *file > 0 {
		if err := os.WriteFile("/file", make([]byte, *file<<20), 0o600); err != nil {
			log.Fatal(err)
		}
	}
	const period = 20 * time.Millisecond
	busy := period * time.Duration(*cpu) / 100
	for {
		start := time.Now()
		for time.Since(start) < busy {
			continue
		}
		time.Sleep(period - busy)
		held = held[:len(held):len(held)] // keeps it from being collected
	}
}
