package vulkan

import "mambatrain/autograd/kernel"

// Gather implements [kernel.Device].
func (d *Device) Gather(y, table kernel.Mat[float32], ids []int) {
	d.gather(y, table, ids, gatherForm{})
}

// GatherBF16 implements [kernel.Device].
func (d *Device) GatherBF16(y, table kernel.Mat[float32], ids []int) {
	d.gather(y, table, ids, gatherForm{bf16: true})
}

// GatherColumns implements [kernel.Device].
func (d *Device) GatherColumns(y, table kernel.Mat[float32], ids []int) {
	d.gather(y, table, ids, gatherForm{columns: true})
}

// gatherForm selects rows or columns, and the type of the table.
type gatherForm struct{ columns, bf16 bool }

func (d *Device) gather(y, table kernel.Mat[float32], ids []int, form gatherForm) {
	c := d.call("gather", uint32(flags(form.columns)), uint32(flags(form.bf16)))
	c.write(y)
	c.readHalf(table, form.bf16)
	c.address(d.integers(ids))
	c.uints(y.Cols)
	c.run(ceilDiv(y.Cols, 64), len(ids), 1)
}

// ScatterAdd implements [kernel.Device].
func (d *Device) ScatterAdd(dtable, dy kernel.Mat[float32], ids []int) {
	d.scatterAdd(dtable, dy, ids, gatherForm{})
}

// ScatterAddColumns implements [kernel.Device].
func (d *Device) ScatterAddColumns(dtable, dy kernel.Mat[float32], ids []int) {
	d.scatterAdd(dtable, dy, ids, gatherForm{columns: true})
}

func (d *Device) scatterAdd(dtable, dy kernel.Mat[float32], ids []int, form gatherForm) {
	s := sortByID(ids)
	c := d.call("scatter", uint32(flags(form.columns)))
	c.update(dtable)
	c.read(dy)
	for _, words := range [][]uint32{s.order, s.starts, s.ids} {
		c.address(d.argument(words))
	}
	c.uints(dy.Cols)
	c.run(ceilDiv(dy.Cols, 64), len(s.ids), 1)
}

// sorted are rows grouped by id: the rows with ids[i] are order[starts[i]:starts[i+1]], in ascending order.
type sorted struct{ ids, starts, order []uint32 }

// sortByID groups the rows 0 … len(ids)−1 by id. Ids are ordered by their first row.
func sortByID(ids []int) sorted {
	var s sorted
	rows := map[int][]uint32{}
	for i, id := range ids {
		if rows[id] == nil {
			s.ids = append(s.ids, uint32(id))
		}
		rows[id] = append(rows[id], uint32(i))
	}
	for _, id := range s.ids {
		s.starts = append(s.starts, uint32(len(s.order)))
		s.order = append(s.order, rows[int(id)]...)
	}
	s.starts = append(s.starts, uint32(len(s.order)))
	return s
}
