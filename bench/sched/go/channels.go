package main

// ---- round trip

func roundTrips(n int) {
	there, back := make(chan int), make(chan int)
	go func() {
		for v := range there {
			back <- v
		}
		close(back)
	}()
	for i := 0; i < n; i++ {
		there <- i
		must(<-back == i, "what came back")
	}
	close(there)
	_, ok := <-back
	must(!ok, "the end of the echo")
}

// ---- flow: so many senders and as many receivers of one channel with room for 128

func flow(n, width int) {
	c := make(chan int, 128)
	sums := make([]int, width)
	want, got := 0, 0
	inParallel(2*width, func(index int) {
		part := share(n, width, index%width)
		if index < width {
			for i := 1; i <= part; i++ {
				c <- i
			}
			return
		}
		sum := 0
		for i := 0; i < part; i++ {
			sum += <-c
		}
		sums[index-width] = sum
	})
	for i := 0; i < width; i++ {
		part := share(n, width, i)
		want += part * (part + 1) / 2
		got += sums[i]
	}
	must(got == want, "the sum of what was received")
}

// ---- select: four senders, each on an unbuffered channel of its own, and one that takes what comes

func selects(n int) {
	var c [4]chan int
	for i := range c {
		c[i] = make(chan int)
	}
	inParallel(5, func(index int) {
		if index < 4 {
			for i, part := 0, share(n, 4, index); i < part; i++ {
				c[index] <- i
			}
			return
		}
		var next [4]int
		for i := 0; i < n; i++ {
			var v, which int
			select {
			case v = <-c[0]:
				which = 0
			case v = <-c[1]:
				which = 1
			case v = <-c[2]:
				which = 2
			case v = <-c[3]:
				which = 3
			}
			must(v == next[which], "the next one of a source")
			next[which]++
		}
	})
}
