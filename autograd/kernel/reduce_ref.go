package kernel

// dotRef returns Σ a·b in float64.
func dotRef[T Float](a, b []T) float64 {
	var s float64
	for i, v := range a {
		s += float64(v) * float64(b[i])
	}
	return s
}

// argMaxRef returns the first index of x's largest element.
func argMaxRef[T Float](x []T) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}

// finiteRef reports whether x contains neither NaN nor infinity, for which v − v is NaN.
func finiteRef[T Float](x []T) bool {
	for _, v := range x {
		if v-v != 0 {
			return false
		}
	}
	return true
}
