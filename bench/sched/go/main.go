// The benchmarks of the scheduler in Go: the same work as the C files beside this folder, one figure on stdout.
//
//	sched-go CASE SECONDS
//
// With BENCH_CPU in the environment, the CPU time of the process instead of the time that passed.
//
// Cases with a loop run under package testing, at least SECONDS long, as Google Benchmark runs the C ones.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
)

// Loops: nanoseconds for each of n iterations, or millions of iterations a second, or milliseconds.
var loops = map[string]func(n int){
	"unbuffered": roundTrips,
	"buffered/1": func(n int) { flow(n, 1) },
	"buffered/4": func(n int) { flow(n, 4) },
	"select":     selects,
	"spawn/1":    func(n int) { spawnAndJoin(n, 1) },
	"spawn/1000": func(n int) { spawnAndJoin(n, 1000) },
	"yield":      yields,
	"mutex":      takes,
	"skynet":     skynets,
}

// Cases that measure by themselves.
var figures = map[string]func() float64{
	"parked": parkAMillion,
	"timers": sleepAll,
	"echo":   tcpEcho,
}

func must(holds bool, what string) {
	if !holds {
		fmt.Fprintln(os.Stderr, "WRONG:", what)
		os.Exit(1)
	}
}

// share is what falls to one of count if they divide n.
func share(n, count, index int) int {
	if index < n%count {
		return n/count + 1
	}
	return n / count
}

// inParallel runs fn(0) ... fn(count-1) on a goroutine each and waits for all.
func inParallel(count int, fn func(index int)) {
	var all sync.WaitGroup
	all.Add(count)
	for i := 0; i < count; i++ {
		go func(index int) {
			fn(index)
			all.Done()
		}(i)
	}
	all.Wait()
}

func main() {
	must(len(os.Args) == 3, "sched-go CASE SECONDS")
	name := os.Args[1]
	if f, ok := figures[name]; ok {
		fmt.Println(f())
		return
	}
	loop, ok := loops[name]
	must(ok, "no such case")
	testing.Init()
	must(flag.Set("test.benchtime", os.Args[2]+"s") == nil, "SECONDS")
	cpu := 0.0
	r := testing.Benchmark(func(b *testing.B) {
		runtime.GC()
		before := cpuSeconds()
		b.ResetTimer()
		loop(b.N)
		cpu = cpuSeconds() - before
	})
	if os.Getenv("BENCH_CPU") != "" {
		fmt.Println(cpu * 1e9 / float64(r.N))
		return
	}
	fmt.Println(float64(r.T.Nanoseconds()) / float64(r.N))
}
