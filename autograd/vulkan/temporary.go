package vulkan

import (
	"slices"
	"unsafe"
)

// temporary is memory whose contents are needed only until the next Run.
type temporary struct {
	arrays    arena
	arguments arena // written by the host, read by shaders
	staging   arena // for copies between arrays and the host
	scratch   []float32
	known     map[*int]integers
}

// integers are host integers that have already been copied to the device.
type integers struct {
	words   []uint32
	address uint64
}

func (t *temporary) reset() {
	t.arrays.reset()
	t.arguments.reset()
	t.staging.reset()
	clear(t.known)
}

// arena allocates parts of blocks. reset frees all of them.
type arena struct {
	blocks []*block
	at     int // index of the block in use
	used   int // elements used in it
}

func (a *arena) reset() { a.at, a.used = 0, 0 }

// take returns the block and the offset, in elements, of the next n elements. add allocates a new block of at least
// least elements.
func (a *arena) take(n, least int, add func(n int) (*block, error)) (*block, int, error) {
	for ; a.at < len(a.blocks); a.at, a.used = a.at+1, 0 {
		if b := a.blocks[a.at]; a.used+n <= int(b.Size/4) {
			at := a.used
			a.used += roundUp(n, alignment)
			return b, at, nil
		}
	}
	b, err := add(roundUp(max(n, least), alignment))
	if err != nil {
		return nil, 0, err
	}
	a.blocks = append(a.blocks, b)
	a.used = roundUp(n, alignment)
	return b, 0, nil
}

// The block sizes of arenas, in elements.
const (
	argumentBlock = 1 << 18
	stagingBlock  = 1 << 22
)

// Temp implements [kernel.Device].
func (d *Device) Temp(n int) []float32 {
	if d.failing() {
		return nil
	}
	b, at, err := d.arrays.take(max(n, 1), d.blockSize, func(n int) (*block, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.newBlock(n)
	})
	if err != nil {
		d.fail("temporary memory", err)
		return nil
	}
	d.idle.Store(false) // until Run frees it
	return b.elements()[at : at+n : at+n]
}

// Reserve implements [kernel.Device].
func (d *Device) Reserve(n int) error {
	if len(d.scratch) >= n {
		return nil
	}
	if d.scratch != nil {
		d.Free(d.scratch)
		d.scratch = nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	b, err := d.newBlock(roundUp(n, alignment))
	if err != nil {
		return err
	}
	b.arrays = 1
	d.scratch = b.elements()
	return nil
}

// scratchFor returns n elements for one kernel, or nil after an error. The next user of the memory waits for this one.
func (d *Device) scratchFor(n int) []float32 {
	if d.failing() {
		return nil
	}
	if err := d.Reserve(n); err != nil {
		d.fail("scratch memory", err)
		return nil
	}
	return d.scratch[:n]
}

// scratchSize returns the number of elements of arrays of the given sizes.
func scratchSize(sizes []int) int {
	total := 0
	for _, n := range sizes {
		total += roundUp(n, alignment)
	}
	return total
}

// scratchParts returns arrays of the given sizes. They are nil after an error.
func (d *Device) scratchParts(sizes ...int) [][]float32 {
	all, parts := d.scratchFor(scratchSize(sizes)), make([][]float32, len(sizes))
	if all == nil {
		return parts
	}
	for i, n := range sizes {
		parts[i], all = all[:n:n], all[roundUp(n, alignment):]
	}
	return parts
}

// argument writes words to memory that shaders can read and returns their address.
func (d *Device) argument(words []uint32) uint64 {
	if d.failing() || len(words) == 0 {
		return 0
	}
	b, at, err := d.arguments.take(len(words), argumentBlock, func(n int) (*block, error) { return d.newMapped(n, d.argumentMemory) })
	if err != nil {
		d.fail("arguments", err)
		return 0
	}
	copy(unsafe.Slice((*uint32)(unsafe.Add(b.mapped, 4*at)), len(words)), words)
	return b.Address + 4*uint64(at)
}

// newMapped allocates n elements that the host can access and that are not part of an array.
func (d *Device) newMapped(n int, choose func(allowed uint32) int) (*block, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, err := d.allocate(uint64(n)*4, choose)
	if err != nil {
		return nil, err
	}
	if b.mapped, err = d.vk.Map(b.Buffer); err != nil {
		d.free(b)
		return nil, d.failed("map memory", err)
	}
	return b, nil
}

// integers copies x to the device and returns its address. Until the next Run, the same numbers are copied only once.
func (d *Device) integers(x []int) uint64 {
	if len(x) == 0 {
		return 0
	}
	words := make([]uint32, len(x))
	for i, v := range x {
		words[i] = uint32(int32(v))
	}
	if k, ok := d.known[&x[0]]; ok && slices.Equal(k.words, words) {
		return k.address
	}
	k := integers{words, d.argument(words)}
	if d.known == nil {
		d.known = map[*int]integers{}
	}
	d.known[&x[0]] = k
	return k.address
}

// firstRows copies the first row of each row's document to the device; nil means a single document that starts at row
// 0.
func (d *Device) firstRows(first []int, rows int) uint64 {
	if first == nil {
		return d.argument(make([]uint32, rows))
	}
	return d.integers(first[:rows])
}
