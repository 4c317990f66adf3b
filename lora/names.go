package lora

import "strings"

// names finds the name that an adapter's file means among those of a model or of another file.
type names struct {
	exact, tails map[string]int
}

// indexed returns the names of the given list by their place in it; the first of equal ones counts.
func indexed(list []string) names {
	n := names{make(map[string]int, len(list)), make(map[string]int, len(list))}
	add := func(m map[string]int, name string, i int) {
		if _, there := m[name]; !there {
			m[name] = i
		}
	}
	for i, name := range list {
		add(n.exact, name, i)
		if _, tail, ok := strings.Cut(name, "."); ok {
			add(n.tails, tail, i)
		}
	}
	return n
}

// find returns the place of path, -1 if it is not there. A first component may be missing on either side: what a model
// without head calls layers.0 is backbone.layers.0 in one with a head.
func (n names) find(path string) int {
	if i, ok := n.exact[path]; ok {
		return i
	}
	best := -1
	if i, ok := n.tails[path]; ok {
		best = i
	}
	if _, tail, ok := strings.Cut(path, "."); ok {
		if i, ok := n.exact[tail]; ok && (best < 0 || i < best) {
			best = i
		}
	}
	return best
}

// sameName says whether a and b differ at most in a first component that only one of them has.
func sameName(a, b string) bool {
	_, shortA, _ := strings.Cut(a, ".")
	_, shortB, _ := strings.Cut(b, ".")
	return a == b || a == shortB || b == shortA
}
