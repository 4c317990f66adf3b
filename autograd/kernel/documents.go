package kernel

// firstRow reads first, which may be nil.
func firstRow(first []int, t int) int {
	if first == nil {
		return 0
	}
	return first[t]
}
