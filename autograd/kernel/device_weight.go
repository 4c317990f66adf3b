package kernel

import "unsafe"

// deviceWeight is a frozen weight (out, in) on a device, stored row by row without gaps.
type deviceWeight struct {
	Mat[float32] // if bf16, laid out like B in DeviceProduct
	bf16         bool
}

// PackOnDevice returns the weight (out, in) whose elements are in data, on the device.
func PackOnDevice(data []float32, out, in int) *Packed {
	return &Packed{Out: out, In: in, device: &deviceWeight{Mat: Dense(data, out, in)}}
}

// PackBF16OnDevice is like PackOnDevice for bfloat16, with two elements in each element of data.
func PackBF16OnDevice(data []float32, out, in int) *Packed {
	return &Packed{Out: out, In: in, device: &deviceWeight{Dense(data, out, in), true}}
}

// BF16Words returns the elements of h in pairs, the layout devices expect for bfloat16, padded with a zero if the
// count is odd.
func BF16Words(h []uint16) []float32 {
	words := make([]float32, pairs(len(h)))
	copy(unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(words))), 2*len(words)), h)
	return words
}

// multiply records p with the weight as B.
func (w *deviceWeight) multiply(p DeviceProduct) {
	p.B, p.BF16, p.Alpha = w.Mat, w.bf16, 1
	current.Multiply(p)
}

func (w *deviceWeight) gather(y Mat[float32], ids []int) {
	if w.bf16 {
		current.GatherBF16(y, w.Mat, ids)
	} else {
		current.Gather(y, w.Mat, ids)
	}
}

// forwardLoRA is Packed.ForwardLoRA.
func (w *deviceWeight) forwardLoRA(mode Mode, y, x Mat[float32], ad LoRA, z Mat[float32]) {
	MatMulNT(Set, z, 1, x, ad.A)
	w.multiply(DeviceProduct{Mode: mode, C: y, A: x, TransposeB: true, A2: z, B2: ad.B, Alpha2: ad.Scale})
}

// backwardLoRA is Packed.BackwardLoRA.
func (w *deviceWeight) backwardLoRA(mode Mode, dx Mat[float32], g LoRAGrad, dy, x, z Mat[float32], ad LoRA) {
	rank := ad.A.Rows
	dz := Dense(current.Temp(dy.Rows*rank), dy.Rows, rank) // without Scale
	if !dx.Absent() || !g.A.Absent() {
		MatMulNN(Set, dz, 1, dy, ad.B)
	}
	if !dx.Absent() {
		w.multiply(DeviceProduct{Mode: mode, C: dx, A: dy, A2: dz, B2: ad.A, Alpha2: ad.Scale})
	}
	if !g.A.Absent() {
		MatMulTN(Add, g.A, ad.Scale, dz, x)
	}
	if !g.B.Absent() {
		MatMulTN(Add, g.B, ad.Scale, dy, z)
	}
}
