// Go: three functions, 50 %, 30 % and 20 % of each thread's CPU time. The protocol is burn.h's.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	clockThreadCPU = 3
	millisecond    = uint64(time.Millisecond)
)

type part struct {
	name  string
	share uint64
	run   func(rounds, seed uint64) uint64
}

type thread struct {
	tid, cpu uint64
	spent    []uint64
	sink     uint64
}

var (
	table [4096]uint32
	stop  int32
	parts = []part{
		{"main.alphaHash", 50, alphaHash},
		{"main.betaWalk", 30, betaWalk},
		{"main.gammaFloat", 20, gammaFloat},
	}
)

//go:noinline
func alphaHash(rounds, seed uint64) uint64 {
	h := seed | 1
	for i := uint64(0); i < rounds; i++ {
		h ^= h << 13
		h ^= h >> 7
		h ^= h << 17
		h += i * 0x9e3779b97f4a7c15
	}
	return h
}

//go:noinline
func betaWalk(rounds, seed uint64) uint64 {
	at := seed
	for i := uint64(0); i < rounds; i++ {
		at = at*6364136223846793005 + uint64(table[(at>>20)&4095]) + i
	}
	return at
}

//go:noinline
func gammaFloat(rounds, seed uint64) uint64 {
	x := 1.0 + float64(seed&1023)
	for i := uint64(0); i < rounds; i++ {
		x = x*0.999 + 3.0/(x+1.0)
	}
	return uint64(x)
}

func cpuNow() uint64 {
	var now syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPU, uintptr(unsafe.Pointer(&now)), 0); errno != 0 {
		panic(errno)
	}
	return uint64(now.Nano())
}

// calibrate finds the rounds that take about a millisecond of CPU.
func (t *thread) calibrate(index int) uint64 {
	for rounds := uint64(64); ; rounds *= 2 {
		before := cpuNow()
		t.sink ^= parts[index].run(rounds, t.sink)
		took := cpuNow() - before
		t.spent[index] += took
		if took >= millisecond/2 {
			return rounds
		}
	}
}

// choose picks the part that is furthest behind its share.
func (t *thread) choose() int {
	best := 0
	for i := range parts {
		if t.spent[i]*parts[best].share < t.spent[best]*parts[i].share {
			best = i
		}
	}
	return best
}

func (t *thread) burn(over func() bool) {
	// The thread's clock and /proc files are only the goroutine's while nothing else runs there.
	runtime.LockOSThread()
	t.tid = uint64(syscall.Gettid())
	t.spent = make([]uint64, len(parts))
	start := cpuNow()
	rounds := make([]uint64, len(parts))
	for i := range parts {
		rounds[i] = t.calibrate(i)
	}
	random := t.tid * 0x9e3779b97f4a7c15
	for !over() {
		index := t.choose()
		random ^= random << 13
		random ^= random >> 7
		random ^= random << 17
		slice := 20*millisecond + random%(20*millisecond)
		before, spent := cpuNow(), uint64(0)
		for spent < slice && !over() {
			t.sink ^= parts[index].run(rounds[index], t.sink)
			spent = cpuNow() - before
		}
		t.spent[index] += spent
	}
	t.cpu = cpuNow() - start
}

func report(threads []thread) {
	var lines []string
	for i := range threads {
		var spent []string
		for p := range parts {
			spent = append(spent, fmt.Sprintf("%q:%d", parts[p].name, threads[i].spent[p]))
		}
		lines = append(lines, fmt.Sprintf(`{"tid":%d,"cpu_ns":%d,"parts":{%s}}`,
			threads[i].tid, threads[i].cpu, strings.Join(spent, ",")))
	}
	fmt.Printf("{\"pid\":%d,\"threads\":[%s]}\n", os.Getpid(), strings.Join(lines, ","))
}

func main() {
	seconds := flag.Uint("seconds", 0, "stop after so many seconds; 0: when stdin says so")
	count := flag.Uint("threads", 1, "threads that burn")
	flag.Parse()
	deadline := time.Now().Add(time.Duration(*seconds) * time.Second)
	over := func() bool {
		return atomic.LoadInt32(&stop) != 0 || (*seconds > 0 && !time.Now().Before(deadline))
	}
	fmt.Printf("{\"ready\":true,\"pid\":%d}\n", os.Getpid())
	listened := make(chan struct{})
	go func() {
		// A byte, the end of the input and an error all mean "stop".
		_, _ = os.Stdin.Read(make([]byte, 1))
		atomic.StoreInt32(&stop, 1)
		close(listened)
	}()
	threads := make([]thread, *count)
	var burning sync.WaitGroup
	for i := range threads {
		burning.Add(1)
		go func(t *thread) {
			t.burn(over)
			burning.Done()
			select {}
		}(&threads[i])
	}
	burning.Wait()
	report(threads)
	<-listened
	for {
		if n, err := os.Stdin.Read(make([]byte, 1)); n == 0 || err != nil {
			return
		}
	}
}
