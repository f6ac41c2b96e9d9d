package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"winnow/tools/internal/bench"
	"winnow/tools/internal/record"
	"winnow/tools/logd/store"
	"winnow/tools/testkit"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

// benchTime is how long each side of a comparison is measured, in each round.
const benchTime = 3 * time.Second

// benchLine is a record as the pipeline writes it.
func benchLine(n int) []byte {
	cpu := 12.5
	c := record.Container{ID: fmt.Sprintf("%064x", n), PID: 4000 + n%1000, Process: "burn", Cmdline: new("/burn --cpu 10%"), Processes: 1, MemoryKB: 8123, RSSKB: 9000,
		VSZKB: 1200000, MemoryPercent: .21, CPUNS: uint64(n) * 1000, CPUPercent: &cpu}
	c.Header = record.Header{Type: record.TypeContainer, Time: testkit.Noon.Add(time.Duration(n) * time.Millisecond), Host: "vm", Snapshot: fmt.Sprint("s-", n/30)}
	line, err := record.Marshal(c)
	if err != nil {
		panic(err)
	}
	return line
}

// request is a POST as it goes over the wire.
func request(body []byte) []byte {
	head := fmt.Sprintf("POST /logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n", len(body))
	return append([]byte(head), body...)
}

// load posts the same body from so many clients for benchTime, each waiting
// for its answer, and is how many were answered a second.
func load(b *testing.B, addr string, clients int, body []byte) float64 {
	b.Helper()
	var done atomic.Int64
	var all sync.WaitGroup
	text := request(body)
	start := time.Now()
	for range clients {
		all.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			var answer fasthttp.Response
			in := bufio.NewReader(c)
			for time.Since(start) < benchTime {
				if _, err := c.Write(text); err != nil {
					b.Error(err)
					return
				}
				if err := answer.Read(in); err != nil || answer.StatusCode() != fasthttp.StatusOK {
					b.Errorf("status %d, %v", answer.StatusCode(), err)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(start).Seconds()
}

// loadSmall is load for a body that fits in a packet and an answer that is
// always of the same length. It is one thread around epoll, so that it leaves
// the processors to what is measured.
func loadSmall(b *testing.B, addr string, clients int, body []byte) float64 {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	poll, err := unix.EpollCreate1(0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(poll)
	text := request(body)
	to := netip.MustParseAddrPort(addr)
	for range clients {
		// Of net's own connections the runtime would wake up for each answer too.
		c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		defer unix.Close(c)
		if err := unix.Connect(c, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
			b.Fatal(err)
		}
		if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, c, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c)}); err != nil {
			b.Fatal(err)
		}
		if _, err := unix.Write(c, text); err != nil {
			b.Fatal(err)
		}
	}
	answer := make([]byte, 4<<10)
	got := make(map[int32]int) // bytes of an answer that began
	length := answerLength(b, addr, text)
	events := make([]unix.EpollEvent, clients)
	done := 0
	start := time.Now()
	for time.Since(start) < benchTime {
		n, err := unix.EpollWait(poll, events, 1000)
		if err != nil && err != unix.EINTR {
			b.Fatal(err)
		}
		for _, e := range events[:max(n, 0)] {
			n, err := unix.Read(int(e.Fd), answer)
			if err != nil || n <= 0 || got[e.Fd] == 0 && !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
				b.Fatalf("%v, %q", err, answer[:max(n, 0)])
			}
			if got[e.Fd] += n; got[e.Fd] < length {
				continue
			}
			got[e.Fd] = 0
			done++
			if _, err := unix.Write(int(e.Fd), text); err != nil {
				b.Fatal(err)
			}
		}
	}
	return float64(done) / time.Since(start).Seconds()
}

// answerLength is how many bytes the answer to text has.
func answerLength(b *testing.B, addr string, text []byte) int {
	b.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(text); err != nil {
		b.Fatal(err)
	}
	var whole bytes.Buffer
	var answer fasthttp.Response
	if err := answer.Read(bufio.NewReader(io.TeeReader(c, &whole))); err != nil {
		b.Fatal(err)
	}
	return whole.Len()
}

// serveBench starts a command that serves on addr, until the bench ends.
func serveBench(b *testing.B, addr string, cmd *exec.Cmd) *process {
	b.Helper()
	p := startListening(b, addr, cmd)
	b.Cleanup(func() {
		p.Process.Signal(syscall.SIGTERM)
		p.Wait()
	})
	return p
}

func startBenchLog(b *testing.B, args ...string) (addr, dir string, p *process) {
	b.Helper()
	addr, dir = testkit.FreeAddr(b), b.TempDir()
	return addr, dir, serveBench(b, addr, exec.Command("logd", append([]string{"--listen", addr, "--dir", dir}, args...)...))
}

func startPeer(b *testing.B) string {
	b.Helper()
	addr := testkit.FreeAddr(b)
	host, port, _ := strings.Cut(addr, ":")
	cmd := exec.Command("/usr/bin/python3", "-m", "uvicorn", "--app-dir", "testdata/bench", "--host", host, "--port", port, "--log-level", "error", "--no-access-log", "peer:app")
	cmd.Env = append(os.Environ(), "PEER_LOG="+filepath.Join(b.TempDir(), "log.jsonl"), "PYTHONDONTWRITEBYTECODE=1")
	serveBench(b, addr, cmd)
	return addr
}

// BenchmarkSingleLines compares posts of one line from 32 clients with the
// same to FastAPI; both answer when the line is synced.
func BenchmarkSingleLines(b *testing.B) {
	ours, _, _ := startBenchLog(b)
	peer := startPeer(b)
	line := benchLine(7)
	var mine, theirs []float64
	for range 7 { // one round differs from the next by a fifth
		mine = append(mine, loadSmall(b, ours, 32, line))
		theirs = append(theirs, loadSmall(b, peer, 32, line))
	}
	bench.Print(b, bench.Result{Bench: "logd single lines, 32 clients", Ours: middle(mine), Peer: middle(theirs), Unit: "posts/s", Against: "FastAPI and uvicorn, append and fsync"})
}

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// writeLoop is what write and fdatasync of the same bytes reach by themselves.
func writeLoop(b *testing.B, chunk []byte) float64 {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	start, n := time.Now(), 0
	for ; time.Since(start) < benchTime; n++ {
		if _, err := f.Write(chunk); err != nil {
			b.Fatal(err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
	}
	return float64(n) / time.Since(start).Seconds()
}

// BenchmarkBatches posts 500 lines at a time from 4 clients, against a bare
// loop that writes and syncs the same bytes, a batch at a time.
func BenchmarkBatches(b *testing.B) {
	const lines = 500
	var body []byte
	for i := range lines {
		body = append(body, benchLine(i)...)
	}
	addr, _, _ := startBenchLog(b)
	var mine, theirs []float64
	for range 3 {
		mine = append(mine, lines*load(b, addr, 4, body))
		theirs = append(theirs, lines*writeLoop(b, body))
	}
	against := fmt.Sprintf("a bare loop of write and fdatasync, %d bytes a line", len(body)/lines)
	bench.Print(b, bench.Result{Bench: "logd batches of 500, 4 clients", Ours: middle(mine), Peer: middle(theirs), Unit: "lines/s", Against: against})
	bench.Bound(b, "logd batches of 500, wanted", middle(mine), 1_000_000, "lines/s")
}

const (
	bigDays  = 10
	bigLines = 1_000_000 // a day
)

// writeDays makes a log of ten million lines, evenly over the ten days that
// end at now, and is how many bytes a day has.
func writeDays(b *testing.B, dir string, now time.Time) int64 {
	b.Helper()
	size := 0
	for i := range bigDays {
		begin := now.AddDate(0, 0, i-bigDays)
		f, err := os.Create(filepath.Join(dir, begin.AddDate(0, 0, 1).Format(time.DateOnly)+".jsonl"))
		if err != nil {
			b.Fatal(err)
		}
		out := bufio.NewWriterSize(f, 1<<20)
		line := benchLine(0)
		at := bytes.Index(line, []byte(testkit.Noon.Format(time.RFC3339)))
		id := bytes.Index(line, []byte(`"id":"`)) + len(`"id":"`)
		line = slices.Concat(line[:at], []byte("2026-11-21T12:00:00.000Z"), line[at+len(testkit.Noon.Format(time.RFC3339)):])
		id += len(".000")
		size = len(line)
		for n := range bigLines {
			copy(line[at:], begin.Add(time.Duration(n)*(24*time.Hour/bigLines)).Format("2006-01-02T15:04:05.000Z"))
			copy(line[id:], fmt.Sprintf("%06d", n%1000)) // a thousand containers
			out.Write(line)
		}
		if err := errors.Join(out.Flush(), f.Close()); err != nil {
			b.Fatal(err)
		}
	}
	return int64(size) * bigLines
}

// fetch gets a path, and is how many bytes the answer has and how long it took.
func fetch(b *testing.B, addr, path string) (int64, time.Duration) {
	b.Helper()
	start := time.Now()
	client := http.Client{Transport: &http.Transport{ReadBufferSize: 64 << 10}}
	defer client.CloseIdleConnections()
	response, err := client.Get("http://" + addr + path)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	// Discard by itself would read 8 KiB at a time.
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, response.Body, make([]byte, 256<<10))
	if err != nil || response.StatusCode != http.StatusOK {
		b.Fatalf("%s: status %d, %v", path, response.StatusCode, err)
	}
	return n, time.Since(start)
}

// BenchmarkTenMillionLines measures a logd that holds them.
func BenchmarkTenMillionLines(b *testing.B) {
	dir := b.TempDir()
	now := time.Now().UTC()
	day := writeDays(b, dir, now)
	log, err := store.Open(store.Options{Dir: dir}, store.RealClock(), b.Logf)
	if err != nil {
		b.Fatal(err)
	}
	all := store.AnyTime(store.Filter{})
	for views, _, _ := log.Views(&all, store.Position{}); !store.Indexed(views, &all); views, _, _ = log.Views(&all, store.Position{}) {
		time.Sleep(10 * time.Millisecond)
	}
	if err := log.Close(b.Context()); err != nil {
		b.Fatal(err)
	}

	addr := testkit.FreeAddr(b)
	start := time.Now()
	p := serveBench(b, addr, exec.Command("logd", "--listen", addr, "--dir", dir))
	fetch(b, addr, "/readyz") // it listens before it has opened the log
	bench.Bound(b, "logd start with 10 million lines", time.Since(start).Seconds(), 2, "s")
	var recent, rare, broad []float64
	for range 5 {
		n, took := fetch(b, addr, "/logs?since=15m")
		if n < day/96/2 {
			b.Fatalf("the last 15 minutes have %d bytes", n)
		}
		recent = append(recent, took.Seconds()*1000)
		span := fmt.Sprintf("&since=%s&until=%s", now.AddDate(0, 0, -5).Format(time.RFC3339), now.AddDate(0, 0, -4).Format(time.RFC3339))
		n, took = fetch(b, addr, "/logs?id=000777"+span)
		if n < day/1000/2 || n > day/1000*2 {
			b.Fatalf("a container has %d bytes", n)
		}
		rare = append(rare, float64(day)/1e6/took.Seconds())
		n, took = fetch(b, addr, "/logs?type=container"+span)
		if n < day*9/10 {
			b.Fatalf("a day has %d bytes of %d", n, day)
		}
		broad = append(broad, float64(n)/1e6/took.Seconds())
	}
	bench.Bound(b, "logd last 15 minutes of 10 million lines", middle(recent), 100, "ms")
	bench.Bound(b, "logd whole day, one container of 1000", middle(rare), 500, "MB/s")
	bench.Bound(b, "logd whole day, all lines match", middle(broad), 500, "MB/s")
	bench.Bound(b, "logd peak memory with 10 million lines", float64(p.peak(b))/(1<<20), 128, "MiB")
}

// BenchmarkCrowd measures what clients that do no good cost the others.
func BenchmarkCrowd(b *testing.B) {
	addr, _, p := startBenchLog(b)
	line := benchLine(7)
	var alone, crowded []float64
	for range 9 { // one round differs from the next by a tenth
		alone = append(alone, load(b, addr, 32, line))
		c := gather(b, addr, 1000, 100, 100)
		load(b, addr, 32, slices.Repeat(line, 100)) // until the followers' sockets are full
		crowded = append(crowded, load(b, addr, 32, line))
		c.leave()
	}
	bench.Print(b, bench.Result{Bench: "logd posts beside 1000 idle, 100 slow, 100 stopped clients", Ours: middle(crowded), Peer: middle(alone), Unit: "posts/s", Against: "the same without them"})
	bench.Bound(b, "logd peak memory beside them", float64(p.peak(b))/(1<<20), 128, "MiB")
}
