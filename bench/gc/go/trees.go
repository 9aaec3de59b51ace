package main

type tree struct{ left, right *tree }

type grower struct {
	made int
	gaps *gaps
}

func (g *grower) grow(depth int) *tree {
	t := new(tree)
	if g.made++; g.made%64 == 0 {
		g.gaps.look()
	}
	if depth > 0 {
		t.left = g.grow(depth - 1)
		t.right = g.grow(depth - 1)
	}
	return t
}

func (t *tree) nodes() int {
	if t == nil {
		return 0
	}
	return 1 + t.left.nodes() + t.right.nodes()
}

func (g *grower) one(depth int) int {
	n := g.grow(depth).nodes()
	must(n == 2<<depth-1, "the nodes of a tree")
	return n
}

func trees(depthOfAll, threads int) {
	runThreads(threads, func(index int, gaps *gaps) int {
		g := &grower{gaps: gaps}
		steps := g.one(depthOfAll + 1)
		longLived := g.grow(depthOfAll)
		for depth := 4; depth <= depthOfAll; depth += 2 {
			for left := 1 << (depthOfAll - depth + 4); left > 0; left-- {
				steps += g.one(depth)
			}
		}
		n := longLived.nodes()
		must(n == 2<<depthOfAll-1, "the nodes of the tree that lives")
		return steps + n
	})
}
