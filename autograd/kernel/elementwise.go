package kernel

// AddTo adds x to y.
func AddTo[T Float](y, x []T) {
	y = y[:len(x)]
	if d := onSlice(y); d != nil {
		d.Add(f32Mat(Dense(y, 1, len(y))), f32Mat(Dense(x, 1, len(x))))
		return
	}
	For(len(x), elementGrain, func(lo, hi int) {
		add(y[lo:hi], x[lo:hi])
	})
}

// Scale multiplies x by k.
func Scale[T Float](x []T, k T) {
	if d := onSlice(x); d != nil {
		d.Scale(f32s(x), float32(k))
		return
	}
	For(len(x), elementGrain, func(lo, hi int) {
		scaleShift(x[lo:hi], k, 0)
	})
}

// fill sets every element of x to v.
func fill[T Float](x []T, v T) {
	For(len(x), elementGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			x[i] = v
		}
	})
}

// AddMat adds x to y, both (rows, cols).
func AddMat[T Float](y, x Mat[T]) {
	y.check("add y", x.Rows, x.Cols)
	if d := on(y); d != nil {
		d.Add(f32Mat(y), f32Mat(x))
		return
	}
	For(x.Rows, rowGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			add(y.Row(i), x.Row(i))
		}
	})
}

// CopyMat copies x to y, both (rows, cols).
func CopyMat[T Float](y, x Mat[T]) {
	y.check("copy y", x.Rows, x.Cols)
	if d := on(y); d != nil {
		d.Copy(f32Mat(y), f32Mat(x))
		return
	}
	For(x.Rows, rowGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			copy(y.Row(i), x.Row(i))
		}
	})
}

// ClearMat sets x to zero.
func ClearMat[T Float](x Mat[T]) {
	if d := on(x); d != nil {
		d.Fill(f32Mat(x), 0)
		return
	}
	For(x.Rows, rowGrain, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			clear(x.Row(i))
		}
	})
}

// Clear sets x to zero.
func Clear[T Float](x []T) {
	if d := onSlice(x); d != nil {
		d.Fill(f32Mat(Dense(x, 1, len(x))), 0)
		return
	}
	clear(x)
}

// mapElements computes y = fast(x) if T is float32 and the kernel set provides fast, and y = plain(x) otherwise. y may
// be x.
func mapElements[T Float](y, x []T, plain func(T) T, fast func(n int, y, x *float32)) {
	y = y[:len(x)]
	For(len(x), elementGrain, func(lo, hi int) {
		if fast != nil && is32[T]() {
			apply2(fast, f32s(y[lo:hi]), f32s(x[lo:hi]))
			return
		}
		mapRef(y[lo:hi], x[lo:hi], plain)
	})
}

// add computes y += x.
func add[T Float](y, x []T) {
	if hasVectors[T]() {
		apply2(active.vec.add, f32s(y), f32s(x))
		return
	}
	addRef(y, x)
}

// scaleShift computes x = x·k + c.
func scaleShift[T Float](x []T, k, c T) {
	if hasVectors[T]() {
		scaleShiftVector(f32s(x), float32(k), float32(c))
		return
	}
	scaleShiftRef(x, k, c)
}

func scaleShiftVector(x []float32, k, c float32) {
	f := active.vec.scaleShift
	apply2(func(n int, y, x *float32) { f(n, y, x, k, c) }, x, x)
}
