package kernel

// gatherRef computes y(i) = table(ids(i)): y is (len(ids), m), table is (v, m).
func gatherRef[T Float](y, table Mat[T], ids []int) {
	for i, id := range ids {
		copy(y.Row(i), table.Row(id))
	}
}

// gatherColumnsRef computes y(i, j) = table(j, ids(i)): y is (len(ids), m), table is (m, v).
func gatherColumnsRef[T Float](y, table Mat[T], ids []int) {
	for i, id := range ids {
		row := y.Row(i)
		for j := range row {
			row[j] = table.Data[j*table.Stride+id]
		}
	}
}

// scatterAddColumnsRef computes dtable(j, ids(i)) += dy(i, j), in the order of i.
func scatterAddColumnsRef[T Float](dtable, dy Mat[T], ids []int) {
	for i, id := range ids {
		for j, v := range dy.Row(i) {
			dtable.Data[j*dtable.Stride+id] += v
		}
	}
}
