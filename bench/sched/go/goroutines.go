package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
)

// ---- spawn and join, so many at a time

func spawnAndJoin(n, batch int) {
	var spawned sync.WaitGroup
	child := func() { spawned.Done() }
	for left := n; left > 0; left -= batch {
		count := batch
		if left < batch {
			count = left
		}
		spawned.Add(count)
		for i := 0; i < count; i++ {
			go child()
		}
		spawned.Wait()
	}
}

// ---- yield, eight goroutines that do nothing else

func yields(n int) {
	inParallel(8, func(index int) {
		for i := share(n, 8, index); i > 0; i-- {
			runtime.Gosched()
		}
	})
}

// ---- mutex, eight goroutines that do nothing but take it, count, and give it back

func takes(n int) {
	var mutex sync.Mutex
	counted := 0
	inParallel(8, func(index int) {
		for i := share(n, 8, index); i > 0; i-- {
			mutex.Lock()
			counted++
			mutex.Unlock()
		}
	})
	must(counted == n, "what was counted under the mutex")
}

// ---- skynet: a tree of goroutines, ten children to each, a million leaves that send their number up

const leaves = 1000000

func skynetNode(up chan int, number, size int) {
	if size == 1 {
		up <- number
		return
	}
	down := make(chan int)
	for i := 0; i < 10; i++ {
		go skynetNode(down, number+i*(size/10), size/10)
	}
	sum := 0
	for i := 0; i < 10; i++ {
		sum += <-down
	}
	up <- sum
}

func skynets(n int) {
	for ; n > 0; n-- {
		up := make(chan int)
		go skynetNode(up, 0, leaves)
		must(<-up == leaves*(leaves-1)/2, "the sum of the tree")
	}
}

// ---- parked: what a goroutine that waits adds to the resident set, at a million of them

func resident() float64 {
	status, err := os.ReadFile("/proc/self/status")
	must(err == nil, "/proc/self/status")
	kib := 0.0
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmRSS:") {
			fmt.Sscanf(line, "VmRSS: %f", &kib)
		}
	}
	return kib * 1024
}

func parkAMillion() float64 {
	done, never := make(chan struct{}), make(chan struct{})
	before := resident()
	for i := 0; i < 1000000; i++ {
		go func() {
			done <- struct{}{}
			<-never
		}()
		<-done
	}
	runtime.Gosched()
	each := (resident() - before) / 1000000
	close(never)
	return each
}
