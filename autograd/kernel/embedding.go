package kernel

// Gather writes row ids[i] of table (v, m) to row i of y.
func Gather[T Float](y, table Mat[T], ids []int) {
	y.check("gather y", len(ids), table.Cols)
	For(len(ids), rowGrain, func(lo, hi int) {
		gatherRef(y.Slice(lo, hi, 0, y.Cols), table, ids[lo:hi])
	})
}

// ScatterAdd adds row i of dy to row ids[i] of dtable (v, m). The work is split by column, so that rows of one id are
// added in the order of i whatever the number of threads.
func ScatterAdd[T Float](dtable, dy Mat[T], ids []int) {
	dy.check("scatter dy", len(ids), dtable.Cols)
	For(dtable.Cols, columnGrain, func(lo, hi int) {
		scatterAddRef(dtable.Slice(0, dtable.Rows, lo, hi), dy.Slice(0, dy.Rows, lo, hi), ids)
	})
}
