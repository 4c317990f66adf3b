package vulkan

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"mambatrain/autograd/kernel"
	"mambatrain/autograd/vulkan/vk"
)

// An array on the device is a []float32 whose addresses represent the device's memory. If the host can access that
// memory, they are its addresses. Otherwise they are a reserved range, and any access by the host causes a fault.

// memory manages the blocks of device memory in which arrays are placed.
type memory struct {
	unified bool // the host can read and write arrays

	blockSize int // elements of a block that several arrays share

	mu        sync.RWMutex
	blocks    []*block    // sorted by host address
	small     *block      // the block for small arrays, or nil
	uncleared [][]float32 // arrays not yet set to zero
	freed     []*block    // to be released after the next Run, once for each array
	used      uint64      // bytes
	closed    bool        // all memory has been released
}

// block is one allocation.
type block struct {
	*vk.Buffer
	host     uintptr        // host address of its first element
	mapped   unsafe.Pointer // where the host can access it, or nil
	reserved []byte         // addresses that represent it, or nil
	taken    int            // elements in use
	arrays   int            // arrays that have not been freed
}

// alignment is the alignment of an array, in elements: 256 bytes.
const alignment = 64

const (
	// blockSize is the size of a shared block, in elements. Arrays share blocks because drivers allow only a few
	// thousand allocations.
	blockSize = 1 << 22
	// smallShare limits the size of an array in a shared block to blockSize/smallShare.
	smallShare = 16
)

// Make implements [kernel.Device].
func (d *Device) Make(n int) ([]float32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	size := roundUp(max(n, 1), alignment)
	b, err := d.blockFor(size)
	if err != nil {
		return nil, err
	}
	x := b.take(size)[:n:n]
	d.clearLater(x)
	return x, nil
}

// blockFor returns a block with room for size elements.
func (d *Device) blockFor(size int) (*block, error) {
	if size > d.blockSize/smallShare {
		return d.newBlock(size)
	}
	if d.small == nil || d.small.taken+size > d.blockSize {
		b, err := d.newBlock(d.blockSize)
		if err != nil {
			return nil, err
		}
		d.small = b
	}
	return d.small, nil
}

// take returns the next size elements.
func (b *block) take(size int) []float32 {
	x := b.elements()[b.taken : b.taken+size]
	b.taken += size
	b.arrays++
	return x
}

// elements returns the whole block as an array.
func (b *block) elements() []float32 {
	return unsafe.Slice((*float32)(*(*unsafe.Pointer)(unsafe.Pointer(&b.host))), b.Size/4)
}

// newBlock allocates a block of n elements for arrays.
func (d *Device) newBlock(n int) (*block, error) {
	b, err := d.allocate(uint64(n)*4, d.arrayMemory)
	if err != nil {
		return nil, err
	}
	if d.unified {
		if b.mapped, err = d.vk.Map(b.Buffer); err != nil {
			d.free(b)
			return nil, d.failed("map memory", err)
		}
		b.host = uintptr(b.mapped)
	} else if b.reserved, err = reserve(n * 4); err != nil {
		d.free(b)
		return nil, d.failed("reserve addresses", err)
	} else {
		b.host = uintptr(unsafe.Pointer(unsafe.SliceData(b.reserved)))
	}
	i, _ := slices.BinarySearchFunc(d.blocks, b.host, byHost)
	d.blocks = slices.Insert(d.blocks, i, b)
	return b, nil
}

func byHost(b *block, host uintptr) int { return cmp.Compare(b.host, host) }

func (d *Device) allocate(bytes uint64, choose func(allowed uint32) int) (*block, error) {
	buffer, err := d.vk.NewBuffer(bytes, choose)
	if err != nil {
		err = d.failed(fmt.Sprintf("allocating %s of memory, with %s of %s in use by this program", mebibytes(bytes), mebibytes(d.used), mebibytes(localMemory(d.physical))), err)
		return nil, err
	}
	d.used += bytes
	return &block{Buffer: buffer}, nil
}

func mebibytes(n uint64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }

// arrayMemory chooses the type of memory for arrays.
func (d *Device) arrayMemory(allowed uint32) int {
	const shared = vk.DeviceLocal | vk.HostVisible | vk.HostCoherent
	find := d.physical.FindMemory
	if d.unified {
		return firstOf(find(allowed, shared|vk.HostCached, 0), find(allowed, shared, 0))
	}
	return firstOf(find(allowed, vk.DeviceLocal, vk.HostVisible), find(allowed, vk.DeviceLocal, 0))
}

// hostMemory chooses the type of memory for data that the host reads.
func (d *Device) hostMemory(allowed uint32) int {
	const visible = vk.HostVisible | vk.HostCoherent
	find := d.physical.FindMemory
	return firstOf(find(allowed, visible|vk.HostCached, 0), find(allowed, visible, 0))
}

// argumentMemory chooses the type of memory for data that the host writes and shaders read.
func (d *Device) argumentMemory(allowed uint32) int {
	const visible = vk.HostVisible | vk.HostCoherent
	find := d.physical.FindMemory
	return firstOf(find(allowed, visible|vk.DeviceLocal, 0), find(allowed, visible, 0))
}

// firstOf returns the first valid type, or −1 if there is none.
func firstOf(types ...int) int {
	for _, t := range types {
		if t >= 0 {
			return t
		}
	}
	return -1
}

// sharesMemory reports whether the host can access most of the device's memory. A discrete device is excluded: the host
// may be able to access all of its memory, but only slowly.
func sharesMemory(p *vk.PhysicalDevice) bool {
	if p.Kind == vk.Discrete {
		return false
	}
	const shared = vk.DeviceLocal | vk.HostVisible | vk.HostCoherent
	var local, mapped uint64
	for _, t := range p.Memory {
		size := p.Heaps[t.Heap].Size
		if t.Flags&vk.DeviceLocal != 0 {
			local = max(local, size)
		}
		if t.Flags&shared == shared {
			mapped = max(mapped, size)
		}
	}
	return mapped > 0 && 2*mapped >= local
}

// clearLater ensures that x is zero before the device uses it.
func (d *Device) clearLater(x []float32) {
	if d.unified {
		clear(x)
		return
	}
	d.uncleared = append(d.uncleared, x)
}

// takeUncleared returns the arrays that have not been set to zero yet, and empties the list.
func (d *Device) takeUncleared() [][]float32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.uncleared
	d.uncleared = nil
	return list
}

// Free implements [kernel.Device]. Memory is released at once if nothing is running. After Close, which released all memory,
// it does nothing: the garbage collector may find an array later.
func (d *Device) Free(x []float32) {
	d.freeLater(x)
	if d.idle.Load() {
		d.release(d.takeFreed())
	}
}

func (d *Device) freeLater(x []float32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	b := d.find(address(x))
	if b == nil {
		panic("vulkan: Free of an array that is not on the device")
	}
	d.uncleared = slices.DeleteFunc(d.uncleared, func(y []float32) bool { return address(x) == address(y) })
	d.freed = append(d.freed, b)
}

// takeFreed returns the blocks of freed arrays and empties the list.
func (d *Device) takeFreed() []*block {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.freed
	d.freed = nil
	return list
}

// release releases the memory of blocks without arrays. The device must no longer use them.
func (d *Device) release(list []*block) {
	if len(list) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	for _, b := range list {
		if b.arrays--; b.arrays > 0 {
			continue
		}
		if b == d.small {
			b.taken = 0
			continue
		}
		i, _ := slices.BinarySearchFunc(d.blocks, b.host, byHost)
		d.blocks = slices.Delete(d.blocks, i, i+1)
		d.free(b)
	}
}

// free frees the memory of a block.
func (d *Device) free(b *block) {
	d.used -= b.Size
	d.vk.Free(b.Buffer)
	unreserve(b.reserved)
}

// allBlocks returns every block.
func (d *Device) allBlocks() []*block {
	return slices.Concat(d.blocks, d.arguments.blocks, d.staging.blocks)
}

// Holds implements [kernel.Device].
func (d *Device) Holds(x []float32) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.find(address(x)) != nil
}

// find returns the block that contains a host address, or nil.
func (m *memory) find(host uintptr) *block {
	i, found := slices.BinarySearchFunc(m.blocks, host, byHost)
	if !found {
		i--
	}
	if i < 0 || host >= m.blocks[i].host+uintptr(m.blocks[i].Size) {
		return nil
	}
	return m.blocks[i]
}

// place is the location of an array.
type place struct {
	*block
	at uint64 // bytes from the start of the block
}

// place returns the location of an array, which must be on the device.
func (d *Device) place(x []float32) place {
	d.mu.RLock()
	defer d.mu.RUnlock()
	b := d.find(address(x))
	if b == nil {
		panic("vulkan: an operand is not on the device")
	}
	return place{b, uint64(address(x) - b.host)}
}

// span is a range of device addresses.
type span struct{ from, to uint64 }

// vector returns the addresses of x, or an empty span for nil.
func (d *Device) vector(x []float32) span {
	if len(x) == 0 {
		return span{}
	}
	p := d.place(x)
	from := p.Address + p.at
	return span{from, from + 4*uint64(len(x))}
}

// matrix returns the addresses of m, including the gaps between its rows.
func (d *Device) matrix(m kernel.Mat[float32]) span {
	if m.Rows == 0 || m.Cols == 0 || m.Data == nil {
		return span{}
	}
	return d.vector(m.Data[:(m.Rows-1)*m.Stride+m.Cols])
}

// address returns the host address of x.
func address(x []float32) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(x))) }

func roundUp(n, multiple int) int { return (n + multiple - 1) / multiple * multiple }

func ceilDiv(a, b int) int { return (a + b - 1) / b }
