package kernel

// Gather writes row ids[i] of table (v, m) to row i of y.
func Gather[T Float](y, table Mat[T], ids []int) {
	y.check("gather y", len(ids), table.Cols)
	if d := on(y); d != nil {
		d.Gather(f32Mat(y), f32Mat(table), ids)
		return
	}
	For(len(ids), rowGrain, func(lo, hi int) {
		gatherRef(y.Slice(lo, hi, 0, y.Cols), table, ids[lo:hi])
	})
}

// ScatterAdd adds row i of dy to row ids[i] of dtable (v, m). Work is split by column, so rows with the same id are
// added in the order of i, whatever the number of threads.
func ScatterAdd[T Float](dtable, dy Mat[T], ids []int) {
	dy.check("scatter dy", len(ids), dtable.Cols)
	if d := on(dtable); d != nil {
		d.ScatterAdd(f32Mat(dtable), f32Mat(dy), ids)
		return
	}
	For(dtable.Cols, columnGrain, func(lo, hi int) {
		for i, id := range ids {
			add(dtable.Row(id)[lo:hi], dy.Row(i)[lo:hi])
		}
	})
}

// GatherColumns writes y(i, j) = table(j, ids[i]) for a table (m, v).
func GatherColumns[T Float](y, table Mat[T], ids []int) {
	y.check("gather columns y", len(ids), table.Rows)
	if d := on(y); d != nil {
		d.GatherColumns(f32Mat(y), f32Mat(table), ids)
		return
	}
	gatherColumnsRef(y, table, ids)
}

// ScatterAddColumns adds dy(i, j) to dtable(j, ids[i]) for a table (m, v).
func ScatterAddColumns[T Float](dtable, dy Mat[T], ids []int) {
	dy.check("scatter columns dy", len(ids), dtable.Rows)
	if d := on(dtable); d != nil {
		d.ScatterAddColumns(f32Mat(dtable), f32Mat(dy), ids)
		return
	}
	scatterAddColumnsRef(dtable, dy, ids)
}
