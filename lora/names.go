package lora

import "strings"

// names finds a name from an adapter's file in a list of names from a model or another file.
type names struct {
	exact, tails map[string]int
}

// indexed returns an index of the names in list. For equal names, the first counts.
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

// find returns the index of path, or -1 if it is missing. The first component may be missing on either side: layers.0
// in a model without a head is backbone.layers.0 in one with a head.
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

// sameName reports whether a and b are equal, except for a first component that only one of them has.
func sameName(a, b string) bool {
	_, shortA, _ := strings.Cut(a, ".")
	_, shortB, _ := strings.Cut(b, ".")
	return a == b || a == shortB || b == shortA
}
