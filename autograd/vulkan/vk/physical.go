package vk

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unsafe"

	"mambatrain/internal/sharedlib"
)

// Kind is the kind of a device.
type Kind uint32

// The values are those of VkPhysicalDeviceType.
const (
	Other Kind = iota
	Integrated
	Discrete
	Virtual
	Software
)

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "other"
}

var kindNames = [...]string{"other", "integrated", "discrete", "virtual", "software"}

// PhysicalDevice is a device of the machine and its capabilities.
type PhysicalDevice struct {
	instance *Instance
	handle   uintptr

	Name          string
	Kind          Kind
	Version       Version // of Vulkan
	Driver        string  // name and version, "" before Vulkan 1.2
	Vendor, ID    uint32
	CacheID       [16]byte // changes whenever a pipeline cache becomes invalid
	Limits        Limits
	Memory        []MemoryType
	Heaps         []Heap
	BufferAddress bool // features
	Timeline      bool
	Quads         bool // subgroup operations over quads, in compute shaders
	family        int  // the queue family for compute, −1 if there is none
}

// Version is a version in the encoding of VK_MAKE_API_VERSION.
type Version uint32

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v>>22&0x7f, v>>12&0x3ff, v&0xfff) }

// Limits are some of VkPhysicalDeviceLimits.
type Limits struct {
	PushConstants   uint32 // bytes
	SharedMemory    uint32 // bytes per group
	Invocations     uint32 // per group
	Groups          [3]uint32
	Subgroup        uint32 // invocations
	Allocation      uint64 // maximum bytes, according to the driver
	TimestampPeriod float32
	TimestampBits   uint32 // 0 for no timestamps
}

// Heap is one heap of memory.
type Heap struct {
	Size uint64
	// Flags has bit 0 set if the heap is local to the device.
	Flags uint32
	_     uint32
}

// MemoryType is one way to use a heap.
type MemoryType struct {
	Flags MemoryFlags
	Heap  uint32
}

// MemoryFlags are VkMemoryPropertyFlags.
type MemoryFlags uint32

const (
	DeviceLocal  MemoryFlags = 1
	HostVisible  MemoryFlags = 2
	HostCoherent MemoryFlags = 4
	HostCached   MemoryFlags = 8
)

func newPhysicalDevice(i *Instance, handle uintptr) *PhysicalDevice {
	d := &PhysicalDevice{instance: i, handle: handle}
	d.readProperties()
	d.readMemory()
	d.readQueues()
	d.readFeatures()
	return d
}

// Problem returns the reason why the device cannot be used, or "" if it can.
func (d *PhysicalDevice) Problem() string {
	switch {
	case d.Version < version12:
		return fmt.Sprintf("it supports Vulkan %v, want 1.2 or later", d.Version)
	case !d.BufferAddress:
		return "it does not support buffer device addresses"
	case !d.Timeline:
		return "it does not support timeline semaphores"
	case !d.Quads:
		return "it does not support subgroup quad operations in compute shaders"
	case d.family < 0:
		return "it has no compute queue"
	}
	return ""
}

// Offsets in VkPhysicalDeviceProperties.
const (
	nameAt    = 20
	cacheIDAt = 276
	limitsAt  = 296
)

func (d *PhysicalDevice) readProperties() {
	maintenance := &struct {
		header
		sets uint32
		_    uint32
		size uint64
	}{header: header{kind: maintenance3Properties}}
	subgroup := &struct {
		header
		size, stages, operations, quadStages uint32
	}{header: header{kind: subgroupProperties, next: unsafe.Pointer(maintenance)}}
	driver := &struct {
		header
		id          uint32
		name, info  [256]byte
		conformance [4]uint8
	}{header: header{kind: driverProperties, next: unsafe.Pointer(subgroup)}}
	p := &struct {
		header
		body [1024]byte // VkPhysicalDeviceProperties has 824
	}{header: header{kind: physicalDeviceProps2, next: unsafe.Pointer(driver)}}
	sharedlib.Call(d.instance.properties, d.handle, uintptr(unsafe.Pointer(p)))
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(p.body[at:]) }
	d.Version, d.Vendor, d.ID, d.Kind = Version(word(0)), word(8), word(12), Kind(word(16))
	d.Driver = strings.TrimSpace(goString(driver.name[:]) + " " + goString(driver.info[:]))
	d.Name = goString(p.body[nameAt:cacheIDAt])
	copy(d.CacheID[:], p.body[cacheIDAt:])
	d.Limits = Limits{
		PushConstants: word(limitsAt + 32), SharedMemory: word(limitsAt + 216), Invocations: word(limitsAt + 232),
		Groups:   [3]uint32{word(limitsAt + 220), word(limitsAt + 224), word(limitsAt + 228)},
		Subgroup: subgroup.size, Allocation: maintenance.size, TimestampPeriod: math.Float32frombits(word(limitsAt + 424)),
	}
	const computeStage, quadOperations = 0x20, 0x80
	d.Quads = subgroup.stages&computeStage != 0 && subgroup.operations&quadOperations != 0
}

func (d *PhysicalDevice) readMemory() {
	m := new(struct {
		types uint32
		kinds [32]MemoryType
		heaps uint32
		heap  [16]Heap
	})
	sharedlib.Call(d.instance.memory, d.handle, uintptr(unsafe.Pointer(m)))
	d.Memory, d.Heaps = m.kinds[:m.types], m.heap[:m.heaps]
}

// readQueues selects the first queue family that supports compute.
func (d *PhysicalDevice) readQueues() {
	const limit = 32
	n, families := new(uint32), new([limit]struct {
		flags, count, timestampBits uint32
		granularity                 [3]uint32
	})
	*n = limit
	sharedlib.Call(d.instance.queues, d.handle, uintptr(unsafe.Pointer(n)), uintptr(unsafe.Pointer(families)))
	d.family = -1
	for i, f := range families[:*n] {
		const compute = 2
		if f.flags&compute != 0 {
			d.family, d.Limits.TimestampBits = i, f.timestampBits
			return
		}
	}
}

// features12 is VkPhysicalDeviceVulkan12Features; features2 is VkPhysicalDeviceFeatures2.
type (
	features12 struct {
		header
		on [47]uint32
		_  uint32
	}
	features2 struct {
		header
		on [55]uint32
		_  uint32
	}
)

// Indexes in features12.
const (
	timelineSemaphore   = 37
	bufferDeviceAddress = 38
)

func (d *PhysicalDevice) readFeatures() {
	if d.Version < version12 {
		return
	}
	f12 := &features12{header: header{kind: vulkan12Features}}
	f2 := &features2{header: header{kind: physicalDeviceFeatures2, next: unsafe.Pointer(f12)}}
	sharedlib.Call(d.instance.features, d.handle, uintptr(unsafe.Pointer(f2)))
	d.Timeline, d.BufferAddress = f12.on[timelineSemaphore] != 0, f12.on[bufferDeviceAddress] != 0
}

// hasExtension reports whether the device has an extension.
func (d *PhysicalDevice) hasExtension(name string) bool {
	type extension struct {
		name    [256]byte
		version uint32
	}
	n := new(uint32)
	if call("", d.instance.extensions, d.handle, 0, uintptr(unsafe.Pointer(n)), 0) != nil || *n == 0 {
		return false
	}
	list := make([]extension, *n)
	if call("", d.instance.extensions, d.handle, 0, uintptr(unsafe.Pointer(n)), uintptr(unsafe.Pointer(&list[0]))) != nil {
		return false
	}
	for _, e := range list[:*n] {
		if goString(e.name[:]) == name {
			return true
		}
	}
	return false
}

// FindMemory returns the first type among the bits of allowed that has all flags in want and none in refuse, or −1 if
// there is none.
func (d *PhysicalDevice) FindMemory(allowed uint32, want, refuse MemoryFlags) int {
	for i, t := range d.Memory {
		if allowed>>i&1 != 0 && t.Flags&want == want && t.Flags&refuse == 0 {
			return i
		}
	}
	return -1
}
