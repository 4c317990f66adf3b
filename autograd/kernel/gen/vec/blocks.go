package vec

// Kernels for quantized weights. The rows of a weight consist of blocks of small integers with scales, which package quant describes. Most
// types are read in strips of 32 values. Here a Row is eight lanes of 32 bits, or their 32 bytes: byte b of lane i is value 4·i + b of a
// strip.

// Blocks is a function under construction that reads a block at a time.
type Blocks[R any] interface {
	ISA[R]
	Zeros() Row[R]                                    //
	Mask(bits uint32) Row[R]                          // in all lanes, to be kept in registers
	Bytes(offset int) Row[R]                          // 32 bytes of the block
	Nibbles(offset int) Row[R]                        // 16 bytes, then the same shifted right by 4 bits; only the low four bits of each are meaningful
	SpreadBits(offset int, bit byte) Row[R]           // 32 bits of the block, each as a byte that is 0 or bit
	And(x, y Row[R]) Row[R]                           //
	AndBits(bits uint32, x Row[R]) Row[R]             // lane by lane
	Or(x, y Row[R]) Row[R]                            //
	ShiftRight(n int, x Row[R]) Row[R]                // lane by lane, left if n is negative
	SubBytes(c byte, x Row[R]) Row[R]                 // x − c, byte by byte
	Floats(x Row[R]) Row[R]                           // of integers
	Widen(x Row[R]) []Row[R]                          // the 32 bytes as signed integers, in order
	SignedBytes(offset int) []Row[R]                  // the same for 32 bytes of the block
	Numbers(offset int) Row[R]                        // eight numbers in float32,
	BFloats(offset int) Row[R]                        // in bfloat16,
	Halves(offset int) Row[R]                         // in half precision
	Half(offset int) Row[R]                           // one number in half precision, in all lanes
	SixBits(offset int) (scales, mins Row[R])         // 12 bytes of Q4_K and Q5_K as eight numbers each
	Signed(offset int) [2]Row[R]                      // 16 signed bytes as numbers
	Lanes(x ...Row[R]) (one, pair func(i int) Row[R]) // lane i in all lanes; lane 2·i in the first four, and 2·i+1 in the others
	X(i int) Row[R]                                   // row i of the part of x for the block
	MulX(i int, v, dst Row[R])                        // dst = v·X(i)
	MulAddX(i int, v, acc Row[R])                     // acc += v·X(i)
	Y(i int, x Row[R])                                // row i of a strip of the result
}

// BlockType describes a type of block, which is read in strips or in order.
type BlockType[R any] struct {
	Name   string
	Bytes  int // of a block
	Strips int // in a block
	Apart  int // distance of the strips of a pair, which share most of their bytes; see Dot
	Bits   int // of an integer; higher bits are undefined
	Offset int // subtracted from the integers
	// Integers returns a strip as bytes.
	Integers func(b Blocks[R], strip int) Row[R]
	Masks    []uint32 // what Integers passes to AndBits
	Nibbles  bool     // odd strips are the upper four bits of the bytes of the even strips before them
	// Values returns the values of a block in order, without the scale.
	Values func(b Blocks[R]) []Row[R]
	// Scales reads the scales of a block; nil if there are none.
	Scales func(b Blocks[R]) Scales[R]
	Rows   int // of x for a block
}

// StripRows is the number of rows of x for a strip, see Dot.
const StripRows = 5

// Scales are the scales of a block.
type Scales[R any] struct {
	lanes func(strip int) Row[R]    // as a strip's lanes
	rows  func(strip, i int) Row[R] // as its values 8·i to 8·i + 7 in order
	mins  Row[R]                    // subtracted from the strips' values, or nil
	min   func(strip int) Row[R]
}

// BlockTypes returns the types that have kernels.
func BlockTypes[R any]() []BlockType[R] {
	return append(ordered[R](), strips[R]()...)
}

// ordered returns the types whose values are stored in order, not assembled from parts.
func ordered[R any]() []BlockType[R] {
	return []BlockType[R]{
		{Name: "F32", Bytes: 32, Strips: 1, Rows: 1, Values: func(b Blocks[R]) []Row[R] { return []Row[R]{b.Numbers(0)} }},
		{Name: "BF16", Bytes: 16, Strips: 1, Rows: 1, Values: func(b Blocks[R]) []Row[R] { return []Row[R]{b.BFloats(0)} }},
		{Name: "F16", Bytes: 16, Strips: 1, Rows: 1, Values: func(b Blocks[R]) []Row[R] { return []Row[R]{b.Halves(0)} }},
		{Name: "Q8_0", Bytes: 34, Strips: 1, Rows: 4, Scales: single[R], Values: func(b Blocks[R]) []Row[R] {
			v := b.SignedBytes(2)
			for i := range v {
				v[i] = b.Floats(v[i])
			}
			return v
		}},
	}
}

func strips[R any]() []BlockType[R] {
	const low, high = 0x0f0f0f0f, 0x10101010
	types := []BlockType[R]{
		{Name: "Q4_0", Bytes: 18, Strips: 1, Bits: 4, Offset: 8, Scales: single[R], Integers: func(b Blocks[R], _ int) Row[R] { return b.Nibbles(2) }},
		{Name: "Q5_0", Bytes: 22, Strips: 1, Bits: 5, Offset: 16, Masks: []uint32{low}, Scales: single[R], Integers: func(b Blocks[R], _ int) Row[R] {
			return b.Or(b.AndBits(low, b.Nibbles(6)), b.SpreadBits(2, 16))
		}},
		{Name: "Q4_1", Bytes: 20, Strips: 1, Bits: 4, Scales: shifted[R], Integers: func(b Blocks[R], _ int) Row[R] { return b.Nibbles(4) }},
		{Name: "Q5_1", Bytes: 24, Strips: 1, Bits: 5, Masks: []uint32{low}, Scales: shifted[R], Integers: func(b Blocks[R], _ int) Row[R] {
			return b.Or(b.AndBits(low, b.Nibbles(8)), b.SpreadBits(4, 16))
		}},
		{Name: "Q4_K", Bytes: 144, Strips: 8, Apart: 1, Bits: 4, Nibbles: true, Scales: sixBits[R], Integers: func(b Blocks[R], j int) Row[R] {
			return b.ShiftRight(4*(j%2), b.Bytes(16+j/2*32))
		}},
		{Name: "Q5_K", Bytes: 176, Strips: 8, Apart: 1, Bits: 5, Masks: []uint32{low}, Scales: sixBits[R], Integers: func(b Blocks[R], j int) Row[R] {
			n := b.AndBits(low, b.ShiftRight(4*(j%2), b.Bytes(48+j/2*32)))
			return b.Or(n, b.AndBits(high, b.ShiftRight(j-4, b.Bytes(16))))
		}},
		{Name: "Q6_K", Bytes: 210, Strips: 8, Apart: 2, Bits: 6, Offset: 32, Masks: []uint32{low, 3 * high}, Scales: signed[R], Integers: func(b Blocks[R], j int) Row[R] {
			t, part := j/4, j%4
			n := b.AndBits(low, b.ShiftRight(4*(part/2), b.Bytes(64*t+32*(part%2))))
			return b.Or(n, b.AndBits(3*high, b.ShiftRight(2*part-4, b.Bytes(128+32*t))))
		}},
	}
	for i := range types {
		types[i].Rows = types[i].Strips * StripRows
	}
	return types
}

// single reads one scale for all values.
func single[R any](b Blocks[R]) Scales[R] {
	d := b.Half(0)
	return Scales[R]{lanes: func(int) Row[R] { return d }, rows: func(int, int) Row[R] { return d }}
}

// shifted reads one scale and one summand for all values.
func shifted[R any](b Blocks[R]) Scales[R] {
	s := single(b)
	s.mins = b.Zeros()
	m := b.Half(2)
	m.Each(func(i int) { b.Sub(s.mins[i], m[i], s.mins[i]) })
	s.min = func(int) Row[R] { return s.mins }
	return s
}

// sixBits reads a scale and a minimum for each strip.
func sixBits[R any](b Blocks[R]) Scales[R] {
	scales, mins := b.SixBits(4)
	times(b, b.Half(0), scales)
	times(b, b.Half(2), mins)
	one, _ := b.Lanes(scales, mins)
	return Scales[R]{lanes: one, rows: func(j, _ int) Row[R] { return one(j) }, mins: mins, min: func(j int) Row[R] { return one(8 + j) }}
}

// signed reads two scales for each strip.
func signed[R any](b Blocks[R]) Scales[R] {
	d, scales := b.Half(208), b.Signed(192)
	times(b, d, scales[0])
	times(b, d, scales[1])
	one, pair := b.Lanes(scales[:]...)
	return Scales[R]{lanes: pair, rows: func(j, i int) Row[R] { return one(2*j + i/2) }}
}

func times[R any](b Blocks[R], x, y Row[R]) {
	y.Each(func(i int) { b.Mul(x[i], y[i], y[i]) })
}

// Sums contains the partial sums of a row's inner product with x.
type Sums[R any] struct {
	masks [4]Row[R] // for each byte of a lane
	upper [3]Row[R] // the same for the upper four bits
	total [2]Row[R] // of the products, alternately
	low   Row[R]    // of the products of the minima
}

// NewSums emits the code before the loop over the rows.
func (t BlockType[R]) NewSums(b Blocks[R]) *Sums[R] {
	s := &Sums[R]{}
	if t.Integers != nil {
		for k := range s.masks {
			s.masks[k] = b.Mask((1<<t.Bits - 1) << (8 * k))
		}
	}
	if t.Nibbles {
		for k := range s.upper {
			s.upper[k] = b.Mask(0xf0 << (8 * k))
		}
	}
	return s
}

// Clear emits the code before the loop over a row's blocks.
func (s *Sums[R]) Clear(b Blocks[R]) {
	s.total, s.low = [2]Row[R]{b.Zeros(), b.Zeros()}, b.Zeros()
}

// Result returns eight numbers whose sum is the inner product.
func (s *Sums[R]) Result(b Blocks[R]) Row[R] {
	r := s.total[0]
	r.Each(func(i int) {
		b.Add(r[i], s.total[1][i], r[i])
		b.Sub(r[i], s.low[i], r[i])
	})
	return r
}

// Dot adds the products of a block with x. If a type's values are in order, so are those of x. Otherwise a strip of x has five rows. The
// first four are multiplied by the bytes of the lanes, which are not shifted within a lane; instead, row b is divided by 256 to the power
// of b, and by the 16 of part. The fifth is the initial value of the sums: −Offset times the sum of the four. For a type with minima, it
// is multiplied by these: it is the sum of the four, or in the first of eight strips the sums of all eight.
//
// Strips are multiplied in pairs, each step for both strips before the next step, and the integers of a pair are read before the products
// of the pair before it. Otherwise the chain of one strip's products would fill the processor's queue of unfinished instructions.
func (t BlockType[R]) Dot(b Blocks[R], s *Sums[R]) {
	if t.Scales == nil {
		for i, v := range t.Values(b) {
			b.MulAddX(i, v, s.total[0])
		}
		return
	}
	scales := t.Scales(b)
	pairs := t.pairs()
	next := t.read(b, pairs[0])
	for p, strips := range pairs {
		now := next
		if p+1 < len(pairs) {
			next = t.read(b, pairs[p+1])
		}
		sums := t.sums(b, s, strips, now)
		for n, j := range strips {
			scale, total := scales.lanes(j), s.total[n]
			total.Each(func(i int) { b.MulAdd(scale[i], sums[n][i], total[i]) })
		}
	}
	if scales.mins != nil {
		b.MulAddX(4, scales.mins, s.low)
	}
}

// pairs returns the strips in pairs that share most of their bytes, or the only strip.
func (t BlockType[R]) pairs() (r [][]int) {
	if t.Strips == 1 {
		return [][]int{{0}}
	}
	for j := range t.Strips {
		if j/t.Apart%2 == 0 {
			r = append(r, []int{j, j + t.Apart})
		}
	}
	return r
}

// once is a Blocks that loads bytes at the same offset only once.
type once[R any] struct {
	Blocks[R]
	loaded map[int]Row[R]
}

func (b once[R]) Bytes(offset int) Row[R] {
	if _, ok := b.loaded[offset]; !ok {
		b.loaded[offset] = b.Blocks.Bytes(offset)
	}
	return b.loaded[offset]
}

// read returns the integers of some strips, or nil if the type's values are in order.
func (t BlockType[R]) read(b Blocks[R], strips []int) (r []Row[R]) {
	if t.Integers == nil {
		return nil
	}
	b = once[R]{b, map[int]Row[R]{}}
	for _, j := range strips {
		if t.Nibbles {
			j &^= 1 // part picks the four bits
		}
		r = append(r, t.Integers(b, j))
	}
	return r
}

// part returns the integers in byte k of the lanes, times 256 to the power of k. The upper four bits are not shifted down, which would
// take one more instruction, and so are larger by a factor of 16. In the last byte they would be negative.
func (t BlockType[R]) part(b Blocks[R], s *Sums[R], strip, k int, lanes Row[R]) Row[R] {
	if t.Nibbles && strip%2 == 1 {
		if k == 3 {
			return b.ShiftRight(28, lanes)
		}
		return b.And(s.upper[k], lanes)
	}
	return b.And(s.masks[k], lanes)
}

// sums returns each strip's products with x, without the scales.
func (t BlockType[R]) sums(b Blocks[R], s *Sums[R], strips []int, integers []Row[R]) []Row[R] {
	sums := make([]Row[R], len(strips))
	add := func(n, i int, v Row[R]) {
		if sums[n] == nil {
			sums[n] = NewRow(b, len(v))
			b.MulX(i, v, sums[n])
			return
		}
		b.MulAddX(i, v, sums[n])
	}
	if t.Integers == nil {
		for i, v := range t.Values(b) {
			add(0, i, v)
		}
		return sums
	}
	if t.Offset != 0 {
		for n, j := range strips {
			sums[n] = b.X(StripRows*j + 4)
		}
	}
	for k := range s.masks {
		for n, j := range strips {
			add(n, StripRows*j+k, b.Floats(t.part(b, s, j, k, integers[n])))
		}
	}
	return sums
}

// ReadStrip writes the values of strip j to y.
func (t BlockType[R]) ReadStrip(b Blocks[R], j int) {
	var scales Scales[R]
	if t.Scales != nil {
		scales = t.Scales(b)
	}
	for i, v := range t.values(b, j) {
		if t.Scales != nil {
			times(b, scales.rows(j, i), v)
		}
		if scales.mins != nil {
			low := scales.min(j)
			v.Each(func(i int) { b.Sub(v[i], low[i], v[i]) })
		}
		b.Y(i, v)
	}
}

// values returns strip j in order, without the scale.
func (t BlockType[R]) values(b Blocks[R], j int) []Row[R] {
	if t.Values != nil {
		return t.Values(b)
	}
	n := t.Integers(b, j)
	if t.Bits == 4 {
		n = b.AndBits(0x0f0f0f0f, n)
	}
	if t.Offset != 0 {
		n = b.SubBytes(byte(t.Offset), n)
	}
	v := b.Widen(n)
	for i := range v {
		v[i] = b.Floats(v[i])
	}
	return v
}
