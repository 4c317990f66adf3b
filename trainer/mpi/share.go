package mpi

// Share returns the part [lo, hi) of n elements that belongs to a rank: equal parts, except that the last ones may be
// shorter or empty.
func Share(n, rank, size int) (lo, hi int) {
	part := (n + size - 1) / size
	return min(n, rank*part), min(n, (rank+1)*part)
}
