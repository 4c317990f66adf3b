package kernel

import "errors"

// A kernel checks where its destination is, or in a backward pass the gradient that it reads, because destinations may
// be absent. If that is on a device, the kernel records a dispatch there and returns; the work is done, in order, by the
// time Run returns. Everything above this package, from ops to the buffer planner, is the same for a device and for the
// host.

// Device is a processor such as a GPU, with float32 arrays in its own memory.
//
// # Arrays
//
// An array on a device is an ordinary []float32 whose addresses represent device memory. It can be sliced, and a Mat
// can view it, with a stride and starting at any element. The host must not read or write it: the addresses may be
// reserved pages that fault. Nil and a zero Mat mean the same as in the kernel of the same name: not supplied, or not
// needed.
//
// # Recording
//
// All methods except Make, Free, Holds, Supports, and Scratch are called from one goroutine at a time; those five may be
// called at any time from any goroutine. A method that computes only records: the device may start immediately, but must
// behave as if all recorded work, Upload included, ran one call after another, in order. Slices of ints and structs
// passed to a method are read before it returns; arrays on the device are read when the work runs. Matrices that a
// method reads do not overlap those it writes, unless its comment allows it.
//
// Methods that record return no error. The first error sticks until Run, which returns it.
//
// # Results
//
// Results equal those of this package's float64 loops up to float32 rounding. How a sum is split depends only on the
// shapes, and its parts are added in a fixed order, so the same device always computes the same bits. “Adds” means
// that the destination's previous value is added to; a destination with Mode Set, or marked as Fresh, is overwritten
// whatever it contains, NaN included.
type Device interface {
	// Name returns the driver's name for the device, together with the driver's version. Run records contain it.
	Name() string
	// Supports returns the reason why the device cannot run an op of these sizes, or nil if it can.
	Supports(s DeviceSizes) error
	// Scratch returns the maximum number of elements that the kernels of an op of these sizes need in addition to their
	// operands.
	Scratch(s DeviceSizes) int
	// Reserve makes sure that kernels have n elements of scratch memory. The error is like that of Make.
	Reserve(n int) error

	// Make returns an array of n elements, aligned to 256 bytes and zeroed. If there is not enough memory, the error
	// wraps ErrDeviceMemory and reports how much was requested and how much is available.
	Make(n int) ([]float32, error)
	// Free releases an array returned by Make once all work recorded so far is done. The slice must be exactly as Make
	// returned it.
	Free(x []float32)
	// Temp returns n elements of unspecified content, which remain valid until the next Run makes them available
	// again. It returns nil after an error, which sticks.
	Temp(n int) []float32
	// Holds reports whether x, which is not empty, is on the device.
	Holds(x []float32) bool

	// Upload copies src, on the host, to dst, which has the same length, in order with the other recorded work. src may
	// change after the call. Bits are copied unchanged, NaN and denormal numbers included: they may be pairs of
	// bfloat16.
	Upload(dst, src []float32)
	// Download does what Run does and then copies src to dst, which is on the host and has the same length.
	Download(dst, src []float32) error
	// Run waits until all recorded work is done and returns the first error since the last Run. The error wraps
	// ErrDeviceLost if the device no longer responds. After any other error, the device can record again.
	Run() error

	// Multiply records a product of matrices.
	Multiply(p DeviceProduct)

	// RMSNorm is the function RMSNorm. A nil w means a weight of ones: the function Normalize. y may be x.
	RMSNorm(y, x Mat[float32], w []float32, eps float64)
	// RMSNormGrad is the function RMSNormGrad, except that mode applies only to dx: dw is always added to. A nil w
	// means a weight of ones: the function NormalizeGrad. With Set, dx may be dy.
	RMSNormGrad(mode Mode, dx Mat[float32], dw []float32, dy, x Mat[float32], w []float32, eps float64)
	// GatedNorm is GatedNorm.Forward. o may be n.Y.
	GatedNorm(n *GatedNorm[float32], o Mat[float32])
	// GatedNormGrad is GatedNorm.Backward.
	GatedNormGrad(n *GatedNorm[float32], g GatedNormGrad[float32], do Mat[float32])

	// Conv is Conv.Forward, ConvTail is Conv.Tail, and ConvGrad is Conv.Backward. carry and dTail are (k−1, d) without gaps.
	// carryOut may be carry.
	Conv(c Conv[float32], y, x Mat[float32], first []int, carry []float32)
	ConvTail(c Conv[float32], carryOut []float32, x Mat[float32], first []int, carry []float32)
	ConvGrad(c Conv[float32], g ConvGrad[float32], dy, x Mat[float32], first []int, carry, dTail []float32)

	// Scan is Scan.Forward. saved has ScanSaved elements and receives what ScanGrad needs, in any layout. hOut may be
	// s.H0.
	Scan(s *Scan[float32], y Mat[float32], saved, hOut []float32)
	// ScanGrad is Scan.Backward.
	ScanGrad(s *Scan[float32], g ScanGrad[float32], dy Mat[float32], saved, dhOut []float32)

	// SSD is SSD.Forward. saved has SSDSaved elements, computed for chunks of s.Chunk rows, or SSDChunk if that is 0,
	// and receives what SSDGrad needs. A device with shorter chunks saves nothing and recomputes the states. hOut may
	// be s.H0.
	SSD(s *SSD[float32], y Mat[float32], saved, hOut []float32)
	// SSDGrad is SSD.Backward.
	SSDGrad(s *SSD[float32], g SSDGrad[float32], dy Mat[float32], saved, dhOut []float32)

	// CrossEntropy records the losses of rows of logits and their gradients.
	CrossEntropy(l DeviceLoss)

	// Copy and Add are the functions CopyMat and AddMat, and Scale is the function of the same name. Fill sets every
	// element of y to v.
	Copy(y, x Mat[float32])
	Add(y, x Mat[float32])
	Fill(y Mat[float32], v float32)
	Scale(x []float32, k float32)
	// AddRow and SumRows are the functions of the same names.
	AddRow(y Mat[float32], b []float32)
	SumRows(dst []float32, x Mat[float32])
	// ScaleColumns is the function ScaleColumns. y may be x.
	ScaleColumns(mode Mode, y, x Mat[float32], a, b []float32)
	// DotColumns is the function DotColumns.
	DotColumns(dst []float32, x, y Mat[float32], factor []float32)
	// InverseRowNorms is the function InverseRowNorms.
	InverseRowNorms(dst []float32, x Mat[float32])
	// AddColumnSquares adds Σ_t x(t, i)² to dst(i), and InverseRoots replaces each element of x by 1/√x, or 0 if it is 0.
	AddColumnSquares(dst []float32, x Mat[float32])
	InverseRoots(x []float32)
	// Drop is the function Drop. y may be x.
	Drop(y, x Mat[float32], d Dropout)

	// Gather is the function Gather; GatherBF16 is the same for a table in bfloat16, laid out like B in DeviceProduct.
	Gather(y, table Mat[float32], ids []int)
	GatherBF16(y, table Mat[float32], ids []int)
	// GatherColumns, ScatterAdd, and ScatterAddColumns are the functions of the same names. Rows with the same id are
	// added in order.
	GatherColumns(y, table Mat[float32], ids []int)
	ScatterAdd(dtable, dy Mat[float32], ids []int)
	ScatterAddColumns(dtable, dy Mat[float32], ids []int)

	// AdamW is the function AdamW.
	AdamW(w, g, m, v []float32, h AdamWStep)
	// SumSquares writes Σ x² to sum[0], which is on the device. The result is infinity or NaN if the sum or an element
	// is. sum may come from Temp.
	SumSquares(sum, x []float32)
	// CountNotFinite writes the number of NaN or infinite elements to count[0], on the device; counts of 2²⁴ or more
	// may be rounded.
	CountNotFinite(count, x []float32)
}

// DeviceSizes describes what an op requires of a device. A zero field means that the op does not use it.
type DeviceSizes struct {
	Rows, Channels                int        // of the result
	ScanStates                    int        // n of a Scan
	ConvTaps                      int        // k of a Conv
	Activation                    Activation // of a Conv
	SSDStates, SSDHead, SSDGroups int        // n, p and g of an SSD
}

// DeviceProduct is the product c = alpha·op(a)·op(b) + alpha2·op(a2)·op(b2) + bias, either set or added to c. op
// transposes its argument if TransposeA or TransposeB is set, the same way in both terms. c is (m, n), op(a) is (m, k),
// and op(b) is (k, n); op(a2) is (m, k2) and op(b2) is (k2, n). An absent A2 means no second term. Bias (n), if not
// nil, is added to every row.
type DeviceProduct struct {
	Mode                   Mode
	C, A, B, A2, B2        Mat[float32]
	TransposeA, TransposeB bool
	Alpha, Alpha2          float32
	Bias                   []float32
	// BF16 means that B, but not B2, is bfloat16: B.Data consists of 32-bit words of two elements, the first in the
	// lower half. Element (i, j) has index i·B.Stride + j. Products and sums are float32.
	BF16 bool
}

// DeviceLoss describes the function CrossEntropy with losses in float32 on the device, in NLL (rows). Targets are on
// the host; a row with a negative target is ignored: its loss and gradient are 0. DLogits may be absent, or Logits
// itself. If not nil, Hits (rows) receives 1 where the first of the largest logits is the target and 0 elsewhere. NLL
// and Hits are overwritten.
type DeviceLoss struct {
	NLL, Hits       []float32
	DLogits, Logits Mat[float32]
	Targets         []int
	Scale           float32
	Smoothing       float64
}

// Errors that a Device wraps.
var (
	ErrDeviceMemory = errors.New("not enough memory on the device")
	ErrDeviceLost   = errors.New("the device was lost")
)

// current is the process's device, or nil.
var current Device

// UseDevice makes d the device of this process; nil means none. It must be called before the first array is made.
func UseDevice(d Device) { current = d }

// CurrentDevice returns the device of this process, or nil.
func CurrentDevice() Device { return current }

// on returns the device if m is on it, and nil otherwise. Without a device this costs one comparison.
func on[T Float](m Mat[T]) Device { return onSlice(m.Data) }

// onSlice is like on, for a slice.
func onSlice[T Float](x []T) Device {
	if current == nil || !is32[T]() || len(x) == 0 || !current.Holds(f32s(x)) {
		return nil
	}
	return current
}

// IsOnDevice reports whether x is on the process's device.
func IsOnDevice[T Float](x []T) bool { return onSlice(x) != nil }
