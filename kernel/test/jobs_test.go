package test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// jobArg makes this test program do one of the jobs instead: what runs in the containers and busybox can't do.
const jobArg = "-job"

var jobs = map[string]func(args []string) error{
	"opens": opens, "delayed": delayed, "sleeper": sleeper, "untouched": untouched, "protect": protect, "execs": execs, "title": title,
	"hold": hold, "burn": burn, "threads": threads,
}

func runJob(name string, args []string) {
	// At rest it is to have the memory that it has: the kernel makes large pages of small ones by itself.
	if err := unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	if err := jobs[name](args); err != nil {
		fmt.Fprintf(os.Stderr, "job %s: %v\n", name, err)
		os.Exit(1)
	}
	for {
		time.Sleep(time.Hour)
	}
}

// job starts a job in the cgroup and waits until it is ready. Whoever waits for its end reaps it.
func (c cgroup) job(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{jobArg, name}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.launch(t, cmd)
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatalf("job %s: %v", name, err)
	}
	return cmd
}

// ready tells who has started the job that it may begin.
func ready() { os.Stdout.Write([]byte{'\n'}) }

// opens opens the module's file, which is what takes a snapshot, all the time while it is there.
func opens([]string) error {
	ready()
	for {
		file, err := os.Open(procFile)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		file.Close()
	}
}

// delayed opens the module's file on the first CPU until that has taken seconds, and then copies it to another.
func delayed(args []string) error {
	if err := pin(); err != nil {
		return err
	}
	ready()
	for {
		began := time.Now()
		file, err := os.Open(procFile)
		if err != nil {
			return err
		}
		if time.Since(began) < 2*time.Second {
			file.Close()
			continue
		}
		text, err := io.ReadAll(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(args[0]+".new", text, 0o600); err != nil {
			return err
		}
		return os.Rename(args[0]+".new", args[0])
	}
}

// sleeper sleeps 1 ms at a time, in a SCHED_FIFO thread on the first CPU, and keeps in a file by how much it woke late at
// most. Go's scheduler has nothing else to run, and no part in the system call.
func sleeper(args []string) error {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	worst, err := shared(args[0])
	if err := errors.Join(err, pin(), urgent(0)); err != nil {
		return err
	}
	runtime.UnlockOSThread()
	ready()
	for {
		before := time.Now()
		pause := unix.Timespec{Nsec: 1e6}
		unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0)
		if late := int64(time.Since(before)) - pause.Nsec; late > worst.Load() {
			worst.Store(late)
		}
	}
}

// shared is a number in a file that several processes have before them.
func shared(path string) (*atomic.Int64, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := file.Truncate(8); err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(int(file.Fd()), 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*atomic.Int64)(unsafe.Pointer(&memory[0])), nil
}

// pin keeps what runs on in a thread of its own on the first CPU.
func pin() error {
	runtime.LockOSThread()
	return onCPU(0, 0)
}

// onCPU keeps a thread, or the one that runs, on a CPU.
func onCPU(thread, cpu int) error {
	var one unix.CPUSet
	one.Set(cpu)
	return unix.SchedSetaffinity(thread, &one)
}

// urgent lets a thread, or the one that runs, run before all others.
func urgent(thread int) error {
	return unix.SchedSetAttr(thread, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 50}, 0)
}

// untouched says that its arguments are a gigabyte that it has never touched.
func untouched([]string) error {
	memory, err := unix.Mmap(-1, 0, 1<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return err
	}
	at := uintptr(unsafe.Pointer(&memory[0]))
	if err := unix.Prctl(unix.PR_SET_MM, unix.PR_SET_MM_ARG_START, at, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_MM, unix.PR_SET_MM_ARG_END, at+1<<30, 0, 0); err != nil {
		return err
	}
	ready()
	return nil
}

// protect changes the protection of many pages all the time, for which its memory is locked. They are all the same one,
// of zeros, so that only their tables take memory.
func protect([]string) error {
	memory, err := unix.Mmap(-1, 0, 128<<20, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	ready()
	for {
		for _, mode := range []int{unix.PROT_NONE, unix.PROT_READ} {
			if err := unix.Mprotect(memory, mode); err != nil {
				return err
			}
		}
	}
}

// secret is what the environment of execs is made of; nothing else that it has is in capital letters.
const secret = "SECRET"

// execs executes itself over and over: with many arguments and no environment, and with few and a large environment,
// which then lies where the arguments were.
func execs(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	argv := []string{self, jobArg, "execs", "few"}
	var environment []string
	switch args[0] {
	case "first":
		ready()
		fallthrough
	case "few":
		argv[3] = "many"
		for range 3 {
			argv = append(argv, strings.Repeat("a", 100_000))
		}
	case "many":
		for range 5 {
			environment = append(environment, strings.Repeat(secret, 20_000))
		}
	}
	return unix.Exec(self, argv, environment)
}

// title writes over its arguments, their last NUL too, as those do that say what they are at.
func title(args []string) error {
	size := 0
	for _, arg := range os.Args {
		size += len(arg) + 1
	}
	// They are the very bytes that the kernel put there, one after the other.
	area := unsafe.Slice(unsafe.StringData(os.Args[0]), size)
	text := args[0] + "\x00"
	copy(area, text+strings.Repeat("x", size-len(text)))
	ready()
	return nil
}

// hold has touched so many kB, its part in each of so many threads.
func hold(args []string) error {
	size, threads := atoi(args[0])<<10, atoi(args[1])
	memory, err := unix.Mmap(-1, 0, size+os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	inThreads(threads, func(n int) (stays bool) {
		for at := size / threads * n; at < size/threads*(n+1); at += os.Getpagesize() {
			memory[at] = 1
		}
		return true
	})
	ready()
	return nil
}

// burn uses so many ms of CPU in each of so many threads, of which nine in ten end then.
func burn(args []string) error {
	spend := time.Duration(atoi(args[0])) * time.Millisecond
	inThreads(atoi(args[1]), func(n int) (stays bool) {
		var used unix.Timespec
		for time.Duration(used.Nano()) < spend {
			unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used)
		}
		return n%10 == 0
	})
	ready()
	return nil
}

// threads has so many threads at rest.
func threads(args []string) error {
	debug.SetMaxThreads(1 << 20)
	inThreads(atoi(args[0]), func(int) (stays bool) { return true })
	ready()
	return nil
}

// inThreads runs a function in threads of their own, which end where it doesn't want them to stay.
func inThreads(count int, do func(n int) (stays bool)) {
	var all sync.WaitGroup
	all.Add(count)
	for n := range count {
		go func() {
			runtime.LockOSThread() // never unlocked, so that the thread ends with the function
			stays := do(n)
			all.Done()
			if stays {
				<-make(chan struct{})
			}
		}()
	}
	all.Wait()
}

func atoi(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

// halt stops a process, so that its figures stand still.
func halt(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "stopped", func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", cmd.Process.Pid))
		for _, task := range tasks {
			if text, _ := os.ReadFile(task); !strings.Contains(string(text), ") T ") {
				return false
			}
		}
		return len(tasks) > 0
	})
}
