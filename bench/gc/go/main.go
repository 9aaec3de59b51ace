// The programs of the folder above in Go: the same work, the same line of figures.
//
//	gc-go trees DEPTH THREADS
//	gc-go churn MIB STEPS THREADS
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"
)

func must(holds bool, what string) {
	if !holds {
		fmt.Fprintln(os.Stderr, "WRONG:", what)
		os.Exit(1)
	}
}

// gaps keeps how long one goroutine was held up at most.
type gaps struct {
	last    time.Time
	longest time.Duration
}

func (g *gaps) look() {
	now := time.Now()
	if d := now.Sub(g.last); d > g.longest {
		g.longest = d
	}
	g.last = now
}

// runThreads runs fn so many times side by side and prints millions of steps a second and the longest gap in ms.
func runThreads(threads int, fn func(index int, g *gaps) int) {
	all := make([]gaps, threads)
	steps := make([]int, threads)
	var done sync.WaitGroup
	done.Add(threads)
	start := time.Now()
	for i := range all {
		go func(i int) {
			runtime.LockOSThread()
			all[i].last = time.Now()
			steps[i] = fn(i, &all[i])
			done.Done()
		}(i)
	}
	done.Wait()
	total, longest := 0, time.Duration(0)
	for i := range all {
		total += steps[i]
		if all[i].longest > longest {
			longest = all[i].longest
		}
	}
	fmt.Printf("%.3f %.2f\n", float64(total)/float64(time.Since(start).Nanoseconds())*1e3, float64(longest.Nanoseconds())*1e-6)
}

func number(i int) int {
	n, err := strconv.Atoi(os.Args[i])
	must(err == nil, "a number")
	return n
}

func main() {
	switch {
	case len(os.Args) == 4 && os.Args[1] == "trees":
		trees(number(2), number(3))
	case len(os.Args) == 5 && os.Args[1] == "churn":
		churn(number(2), number(3), number(4))
	default:
		must(false, "gc-go trees DEPTH THREADS, or churn MIB STEPS THREADS")
	}
}
