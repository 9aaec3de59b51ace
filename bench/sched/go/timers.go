package main

import (
	"sync/atomic"
	"syscall"
	"time"
)

func cpuSeconds() float64 {
	var u syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil, "getrusage")
	return float64(u.Utime.Sec+u.Stime.Sec) + 1e-6*float64(u.Utime.Usec+u.Stime.Usec)
}

// A million goroutines asleep until instants drawn from two seconds: the CPU time from when the last one was started
// until the last one has ended; and whether the last one was asleep before the first one woke.
func sleepOnce(lead time.Duration) (float64, bool) {
	const sleepers, spread = 1000000, 2000000000
	var ended atomic.Int64
	all := make(chan struct{}, 1)
	begin := time.Now().Add(lead)
	x := uint64(88172645463325252)
	for i := 0; i < sleepers; i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		until := begin.Add(time.Duration(x % spread))
		go func() {
			time.Sleep(time.Until(until))
			if ended.Add(1) == sleepers {
				all <- struct{}{}
			}
		}()
	}
	inTime := time.Now().Before(begin)
	before := cpuSeconds()
	<-all
	return cpuSeconds() - before, inTime
}

func sleepAll() float64 {
	for lead := 8 * time.Second; ; lead *= 2 {
		if used, inTime := sleepOnce(lead); inTime {
			return used
		}
	}
}
