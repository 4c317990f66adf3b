package kernel

// addRef computes y += x.
func addRef[T Float](y, x []T) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += v
	}
}

// scaleShiftRef computes x = x·k + c.
func scaleShiftRef[T Float](x []T, k, c T) {
	for i := range x {
		x[i] = x[i]*k + c
	}
}

// mapRef computes y = f(x). y may be x.
func mapRef[T Float](y, x []T, f func(T) T) {
	for i, v := range x {
		y[i] = f(v)
	}
}
