package vk

import (
	"unsafe"

	"mambatrain/internal/sharedlib"
)

// Commands is a command buffer.
type Commands struct {
	d      *Device
	handle uintptr
}

func (d *Device) newCommandPool() (uintptr, error) {
	const resetCommandBuffer = 2
	info := &struct {
		header
		flags, family uint32
	}{header{kind: commandPoolCreateInfo}, resetCommandBuffer, uint32(d.physical.family)}
	var pool uintptr
	err := call("vkCreateCommandPool", d.createCommandPool, d.handle, uintptr(unsafe.Pointer(info)), 0, uintptr(unsafe.Pointer(&pool)))
	return d.made(pool, d.destroyPool, err)
}

// NewCommands returns n command buffers.
func (d *Device) NewCommands(n int) ([]Commands, error) {
	info := &struct {
		header
		pool         uintptr
		level, count uint32
	}{header{kind: commandBufferAllocInfo}, d.pool, 0, uint32(n)}
	handles := make([]uintptr, n)
	if err := call("vkAllocateCommandBuffers", d.allocateCommands, d.handle, uintptr(unsafe.Pointer(info)), uintptr(unsafe.Pointer(&handles[0]))); err != nil {
		return nil, err
	}
	list := make([]Commands, n)
	for i, h := range handles {
		list[i] = Commands{d, h}
	}
	return list, nil
}

// Begin starts recording and discards earlier contents. The commands can be submitted once.
func (c Commands) Begin() error {
	const oneTimeSubmit = 1
	info := &struct {
		header
		flags       uint32
		_           uint32
		inheritance unsafe.Pointer
	}{header: header{kind: commandBufferBeginInfo}, flags: oneTimeSubmit}
	return call("vkBeginCommandBuffer", c.d.begin, c.handle, uintptr(unsafe.Pointer(info)))
}

// End ends recording.
func (c Commands) End() error { return call("vkEndCommandBuffer", c.d.end, c.handle) }

// Bind selects the pipeline for the dispatches that follow.
func (c Commands) Bind(p *Pipeline) {
	const compute = 1
	sharedlib.Call(c.d.bindPipeline, c.handle, compute, p.handle)
}

// Push sets the push constants of p to the bytes at data.
func (c Commands) Push(p *Pipeline, data *byte) {
	sharedlib.Call(c.d.push, c.handle, p.layout, computeStage, 0, uintptr(p.push), uintptr(unsafe.Pointer(data)))
}

// Dispatch runs groups of the bound pipeline: the given number in each dimension, starting at base.
func (c Commands) Dispatch(base, groups [3]int) {
	sharedlib.Call(c.d.dispatch, c.handle, uintptr(base[0]), uintptr(base[1]), uintptr(base[2]), uintptr(groups[0]), uintptr(groups[1]), uintptr(groups[2]))
}

// memoryBarrier makes writes by shaders and copies visible to shaders, copies, and the host.
var memoryBarrier = &struct {
	header
	from, to uint32
}{header{kind: memoryBarrierInfo}, 0x40 | 0x1000, 0x20 | 0x40 | 0x800 | 0x1000 | 0x2000}

// Barrier makes everything that follows, including reads by the host, wait for everything submitted or recorded earlier.
func (c Commands) Barrier() {
	const compute, transfer, host = 0x800, 0x1000, 0x4000
	sharedlib.Call(c.d.barrier, c.handle, compute|transfer, compute|transfer|host, 0, 1, uintptr(unsafe.Pointer(memoryBarrier)), 0, 0, 0, 0)
}

// Copy copies n bytes.
func (c Commands) Copy(to *Buffer, toAt uint64, from *Buffer, fromAt, n uint64) {
	region := &[3]uint64{fromAt, toAt, n}
	sharedlib.Call(c.d.copyBuffer, c.handle, from.handle, to.handle, 1, uintptr(unsafe.Pointer(region)))
}

// Fill sets n bytes, a multiple of four, to the word v.
func (c Commands) Fill(to *Buffer, at, n uint64, v uint32) {
	sharedlib.Call(c.d.fillBuffer, c.handle, to.handle, uintptr(at), uintptr(n), uintptr(v))
}

// Timeline is a timeline semaphore: a number that increases as submissions finish.
type Timeline struct{ handle uintptr }

// NewTimeline returns a timeline at 0.
func (d *Device) NewTimeline() (Timeline, error) {
	kind := &struct {
		header
		kind  uint32
		_     uint32
		value uint64
	}{header: header{kind: semaphoreTypeCreateInfo}, kind: 1}
	info := &struct {
		header
		flags uint32
		_     uint32
	}{header: header{kind: semaphoreCreateInfo, next: unsafe.Pointer(kind)}}
	var handle uintptr
	err := call("vkCreateSemaphore", d.createSemaphore, d.handle, uintptr(unsafe.Pointer(info)), 0, uintptr(unsafe.Pointer(&handle)))
	handle, err = d.made(handle, d.destroySemaphore, err)
	return Timeline{handle}, err
}

// Reached returns the current value of the timeline.
func (d *Device) Reached(t Timeline) (uint64, error) {
	v := new(uint64)
	err := call("vkGetSemaphoreCounterValue", d.counter, d.handle, t.handle, uintptr(unsafe.Pointer(v)))
	return *v, err
}

// Wait waits until t reaches value. After the given number of nanoseconds it returns Timeout.
func (d *Device) Wait(t Timeline, value, nanoseconds uint64) error {
	info := &struct {
		header
		flags, count uint32
		timeline     *Timeline
		value        *uint64
	}{header{kind: semaphoreWaitInfo}, 0, 1, &t, &value}
	return call("vkWaitSemaphores", d.waitSemaphores, d.handle, uintptr(unsafe.Pointer(info)), uintptr(nanoseconds))
}

// Submit queues c. When c has run, t reaches value.
func (d *Device) Submit(c Commands, t Timeline, value uint64) error {
	values := &struct {
		header
		waits   uint32
		_       uint32
		wait    *uint64
		signals uint32
		_       uint32
		signal  *uint64
	}{header: header{kind: timelineSubmitInfo}, signals: 1, signal: &value}
	info := &struct {
		header
		waits   uint32
		_       uint32
		wait    unsafe.Pointer
		stages  unsafe.Pointer
		count   uint32
		_       uint32
		buffer  *uintptr
		signals uint32
		_       uint32
		signal  *Timeline
	}{header: header{kind: submitInfo, next: unsafe.Pointer(values)}, count: 1, buffer: &c.handle, signals: 1, signal: &t}
	return call("vkQueueSubmit", d.submit, d.queue, 1, uintptr(unsafe.Pointer(info)), 0)
}

// Timestamps are times recorded by the device.
type Timestamps struct{ handle uintptr }

// NewTimestamps returns room for n times.
func (d *Device) NewTimestamps(n int) (Timestamps, error) {
	const timestamp = 2
	info := &struct {
		header
		flags, kind, count, statistics uint32
	}{header{kind: queryPoolCreateInfo}, 0, timestamp, uint32(n), 0}
	var handle uintptr
	err := call("vkCreateQueryPool", d.createQueries, d.handle, uintptr(unsafe.Pointer(info)), 0, uintptr(unsafe.Pointer(&handle)))
	handle, err = d.made(handle, d.destroyQueries, err)
	return Timestamps{handle}, err
}

// ResetTimestamps prepares the first n times to be recorded again.
func (c Commands) ResetTimestamps(t Timestamps, n int) {
	sharedlib.Call(c.d.resetQueries, c.handle, t.handle, 0, uintptr(n))
}

// Timestamp records time i after all earlier commands have run.
func (c Commands) Timestamp(t Timestamps, i int) {
	const computeShader = 0x800
	sharedlib.Call(c.d.timestamp, c.handle, computeShader, t.handle, uintptr(i))
}

// Times returns the first n times, in ticks of Limits.TimestampPeriod nanoseconds.
func (d *Device) Times(t Timestamps, n int) ([]uint64, error) {
	const as64, wait = 1, 2
	ticks := make([]uint64, n)
	err := call("vkGetQueryPoolResults", d.queryResults, d.handle, t.handle, 0, uintptr(n), uintptr(8*n), uintptr(unsafe.Pointer(&ticks[0])), 8, as64|wait)
	return ticks, err
}
