package kernel

// Documents are stored end to end along the row axis. first[t] is the first row of row t's document; nil means one
// document starting at row 0. A negative first[t] = −n means that the document began n rows before this batch.

// firstRow returns first[t]; first may be nil.
func firstRow(first []int, t int) int {
	if first == nil {
		return 0
	}
	return first[t]
}
