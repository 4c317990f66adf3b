package vk

import (
	"errors"
	"slices"
	"unsafe"

	"mambatrain/internal/sharedlib"
)

// Device is an open device with one queue.
type Device struct {
	physical      *PhysicalDevice
	handle, queue uintptr
	pool          uintptr // for command buffers
	objects       []object
	deviceFunctions
	commands
}

type deviceFunctions struct {
	destroyDevice, getQueue, waitIdle                                                           uintptr
	createBuffer, destroyBuffer, requirements, allocate, free, bindMemory, mapping              uintptr
	bufferAddress                                                                               uintptr
	createModule, destroyModule, createLayout, createPipelines                                  uintptr
	createCache, cacheData                                                                      uintptr
	createCommandPool, allocateCommands, createSemaphore, waitSemaphores                        uintptr
	destroyPool, destroySemaphore, destroyQueries, destroyLayout, destroyPipeline, destroyCache uintptr
	counter, submit, createQueries, queryResults                                                uintptr
}

// object is an object created on the device, other than a buffer.
type object struct{ destroy, handle uintptr }

// made registers an object to be destroyed with the device, unless err is not nil.
func (d *Device) made(handle, destroy uintptr, err error) (uintptr, error) {
	if err == nil {
		d.objects = append(d.objects, object{destroy, handle})
	}
	return handle, err
}

// commands are the functions that record commands.
type commands struct {
	begin, end, bindPipeline, push, dispatch, barrier, copyBuffer, fillBuffer, resetQueries, timestamp uintptr
}

// Open opens the device with the features that [PhysicalDevice.Problem] requires.
func (d *PhysicalDevice) Open() (*Device, error) {
	handle, err := d.create()
	if err != nil {
		return nil, err
	}
	dev := &Device{physical: d, handle: handle}
	if err := bind(dev.entries(), func(name string) uintptr {
		return sharedlib.Call(d.instance.deviceProc, handle, uintptr(unsafe.Pointer(cString(name))))
	}); err != nil {
		return nil, err
	}
	sharedlib.Call(dev.getQueue, handle, uintptr(d.family), 0, uintptr(unsafe.Pointer(&dev.queue)))
	dev.pool, err = dev.newCommandPool()
	return dev, err
}

func (d *PhysicalDevice) create() (uintptr, error) {
	f12 := &features12{header: header{kind: vulkan12Features}}
	f12.on[bufferDeviceAddress], f12.on[timelineSemaphore] = 1, 1
	f2 := &features2{header: header{kind: physicalDeviceFeatures2, next: unsafe.Pointer(f12)}}
	priority := float32(1)
	queue := &struct {
		header
		flags, family, count uint32
		_                    uint32
		priorities           *float32
	}{header: header{kind: deviceQueueCreateInfo}, family: uint32(d.family), count: 1, priorities: &priority}
	info := &struct {
		header
		flags, queues uint32
		queue         unsafe.Pointer
		layers        uint32
		_             uint32
		layerNames    **byte
		extensions    uint32
		_             uint32
		extNames      **byte
		features      unsafe.Pointer
	}{header: header{kind: deviceCreateInfo, next: unsafe.Pointer(f2)}, queues: 1, queue: unsafe.Pointer(queue)}
	if subset := "VK_KHR_portability_subset"; d.hasExtension(subset) { // must be enabled if the device has it
		info.extensions, info.extNames = cStrings([]string{subset})
	}
	var handle uintptr
	err := call("vkCreateDevice", d.instance.createDevice, d.handle, uintptr(unsafe.Pointer(info)), 0, uintptr(unsafe.Pointer(&handle)))
	return handle, err
}

func (d *Device) entries() []entry {
	return []entry{
		{"vkDestroyDevice", &d.destroyDevice}, {"vkGetDeviceQueue", &d.getQueue}, {"vkDeviceWaitIdle", &d.waitIdle},
		{"vkCreateBuffer", &d.createBuffer}, {"vkDestroyBuffer", &d.destroyBuffer},
		{"vkGetBufferMemoryRequirements", &d.requirements}, {"vkAllocateMemory", &d.allocate}, {"vkFreeMemory", &d.free},
		{"vkBindBufferMemory", &d.bindMemory}, {"vkMapMemory", &d.mapping}, {"vkGetBufferDeviceAddress", &d.bufferAddress},
		{"vkCreateShaderModule", &d.createModule}, {"vkDestroyShaderModule", &d.destroyModule},
		{"vkCreatePipelineLayout", &d.createLayout}, {"vkCreateComputePipelines", &d.createPipelines},
		{"vkCreatePipelineCache", &d.createCache}, {"vkGetPipelineCacheData", &d.cacheData},
		{"vkCreateCommandPool", &d.createCommandPool}, {"vkAllocateCommandBuffers", &d.allocateCommands},
		{"vkCreateSemaphore", &d.createSemaphore}, {"vkWaitSemaphores", &d.waitSemaphores},
		{"vkGetSemaphoreCounterValue", &d.counter}, {"vkQueueSubmit", &d.submit},
		{"vkCreateQueryPool", &d.createQueries}, {"vkGetQueryPoolResults", &d.queryResults},
		{"vkDestroyCommandPool", &d.destroyPool}, {"vkDestroySemaphore", &d.destroySemaphore}, {"vkDestroyQueryPool", &d.destroyQueries},
		{"vkDestroyPipelineLayout", &d.destroyLayout}, {"vkDestroyPipeline", &d.destroyPipeline}, {"vkDestroyPipelineCache", &d.destroyCache},
		{"vkBeginCommandBuffer", &d.begin}, {"vkEndCommandBuffer", &d.end}, {"vkCmdBindPipeline", &d.bindPipeline},
		{"vkCmdPushConstants", &d.push}, {"vkCmdDispatchBase", &d.dispatch}, {"vkCmdPipelineBarrier", &d.barrier},
		{"vkCmdCopyBuffer", &d.copyBuffer}, {"vkCmdFillBuffer", &d.fillBuffer},
		{"vkCmdResetQueryPool", &d.resetQueries}, {"vkCmdWriteTimestamp", &d.timestamp},
	}
}

// Close waits until the device is idle, and closes it and everything created on it. Buffers must already have been
// freed.
func (d *Device) Close() {
	for _, o := range slices.Backward(d.objects) {
		sharedlib.Call(o.destroy, d.handle, o.handle, 0)
	}
	sharedlib.Call(d.destroyDevice, d.handle, 0)
}

// WaitIdle waits until everything submitted has run.
func (d *Device) WaitIdle() { sharedlib.Call(d.waitIdle, d.handle) }

// Buffer is an allocation that shaders access by its address.
type Buffer struct {
	handle, memory uintptr
	Address        uint64
	Size           uint64
}

// bufferUsage is the usage of every buffer: storage, the source and the destination of copies, and access by address.
const bufferUsage = 0x20 | 1 | 2 | 0x20000

// NewBuffer returns a buffer of size bytes. choose picks the memory type from the bits of allowed.
func (d *Device) NewBuffer(size uint64, choose func(allowed uint32) int) (*Buffer, error) {
	info := &struct {
		header
		flags                   uint32
		_                       uint32
		size                    uint64
		usage, sharing, indices uint32
		_                       uint32
		families                unsafe.Pointer
	}{header: header{kind: bufferCreateInfo}, size: size, usage: bufferUsage}
	b := &Buffer{Size: size}
	if err := call("vkCreateBuffer", d.createBuffer, d.handle, uintptr(unsafe.Pointer(info)), 0, uintptr(unsafe.Pointer(&b.handle))); err != nil {
		return nil, err
	}
	if err := d.back(b, choose); err != nil {
		d.Free(b)
		return nil, err
	}
	address := &struct {
		header
		buffer uintptr
	}{header{kind: bufferDeviceAddressInfo}, b.handle}
	b.Address = uint64(sharedlib.Call(d.bufferAddress, d.handle, uintptr(unsafe.Pointer(address))))
	return b, nil
}

// back allocates memory for a buffer.
func (d *Device) back(b *Buffer, choose func(allowed uint32) int) error {
	need := new(struct {
		size, alignment uint64
		allowed         uint32
		_               uint32
	})
	sharedlib.Call(d.requirements, d.handle, b.handle, uintptr(unsafe.Pointer(need)))
	kind := choose(need.allowed)
	if kind < 0 {
		return errors.New("no memory type fits the buffer")
	}
	flags := &struct {
		header
		flags, devices uint32
	}{header: header{kind: memoryAllocateFlagsInfo}, flags: 2} // VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT
	info := &struct {
		header
		size  uint64
		index uint32
		_     uint32
	}{header: header{kind: memoryAllocateInfo, next: unsafe.Pointer(flags)}, size: need.size, index: uint32(kind)}
	if err := call("vkAllocateMemory", d.allocate, d.handle, uintptr(unsafe.Pointer(info)), 0, uintptr(unsafe.Pointer(&b.memory))); err != nil {
		return err
	}
	return call("vkBindBufferMemory", d.bindMemory, d.handle, b.handle, b.memory, 0)
}

// Free frees a buffer. Nothing that is still running may use it.
func (d *Device) Free(b *Buffer) {
	sharedlib.Call(d.destroyBuffer, d.handle, b.handle, 0)
	sharedlib.Call(d.free, d.handle, b.memory, 0)
}

// Map returns the host address of a buffer in HostVisible memory.
func (d *Device) Map(b *Buffer) (unsafe.Pointer, error) {
	at := new(unsafe.Pointer)
	err := call("vkMapMemory", d.mapping, d.handle, b.memory, 0, ^uintptr(0), 0, uintptr(unsafe.Pointer(at)))
	return *at, err
}
