package main

type record struct {
	next   *record
	key    uint64
	values [6]uint64
}

const chain = 4

func newRecord(key uint64, next *record) *record {
	r := &record{next: next, key: key}
	for i := range r.values {
		r.values[i] = key + uint64(i)
	}
	return r
}

func step(c **record, key uint64) {
	r := newRecord(key, *c)
	*c = r
	for i := 1; i < chain; i++ {
		r = r.next
	}
	old := r.next
	must(old != nil && old.values[5] == old.key+5 && old.next == nil, "a record")
	r.next = nil
}

func churn(mib, stepsEach, threads int) {
	each := mib << 20 / 64 / chain / threads
	chains := make([]*record, each*threads)
	runThreads(threads, func(index int, g *gaps) int {
		own := chains[index*each : (index+1)*each]
		x := uint64(88172645463325252) + uint64(index)*7919
		for i := range own {
			for k := 0; k < chain; k++ {
				own[i] = newRecord(uint64(i), own[i])
			}
		}
		for i := 0; i < stepsEach; i++ {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			step(&own[(x>>32)%uint64(each)], x)
			g.look()
		}
		return stepsEach
	})
}
