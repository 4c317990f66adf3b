package vk

import (
	"fmt"
	"unsafe"

	"mambatrain/internal/sharedlib"
)

// Pipeline is a compiled shader.
type Pipeline struct {
	handle, layout uintptr
	push           int
}

// Cache is a pipeline cache: shaders compiled by the driver.
type Cache struct{ handle uintptr }

// dispatchBase is VK_PIPELINE_CREATE_DISPATCH_BASE_BIT: group numbers may start at any base.
const dispatchBase = 0x10

// computeStage is VK_SHADER_STAGE_COMPUTE_BIT.
const computeStage = 0x20

// NewCache returns a cache initialized with data from [Device.CacheData]. The driver ignores data that it did not
// produce.
func (d *Device) NewCache(data []byte) (Cache, error) {
	info := &struct {
		header
		flags uint32
		_     uint32
		size  uintptr
		data  *byte
	}{header: header{kind: pipelineCacheCreateInfo}, size: uintptr(len(data)), data: unsafe.SliceData(data)}
	var handle uintptr
	err := call("vkCreatePipelineCache", d.createCache, d.handle, uintptr(unsafe.Pointer(info)), 0, uintptr(unsafe.Pointer(&handle)))
	handle, err = d.made(handle, d.destroyCache, err)
	return Cache{handle}, err
}

// CacheData returns the cache's contents.
func (d *Device) CacheData(c Cache) ([]byte, error) {
	size := new(uintptr)
	if err := call("vkGetPipelineCacheData", d.cacheData, d.handle, c.handle, uintptr(unsafe.Pointer(size)), 0); err != nil || *size == 0 {
		return nil, err
	}
	data := make([]byte, *size)
	err := call("vkGetPipelineCacheData", d.cacheData, d.handle, c.handle, uintptr(unsafe.Pointer(size)), uintptr(unsafe.Pointer(&data[0])))
	return data[:*size], err
}

// Shader describes a pipeline: SPIR-V with the entry point main, the values of its specialization constants 0, 1, …,
// and the size of its push constants in bytes.
type Shader struct {
	Code      []byte
	Constants []uint32
	Push      int
}

// NewPipeline compiles a shader.
func (d *Device) NewPipeline(s Shader, c Cache) (*Pipeline, error) {
	if len(s.Code) == 0 || len(s.Code)%4 != 0 {
		return nil, fmt.Errorf("invalid SPIR-V: the length is %d bytes, want a positive multiple of 4", len(s.Code))
	}
	module, err := d.newModule(s.Code)
	if err != nil {
		return nil, err
	}
	defer sharedlib.Call(d.destroyModule, d.handle, module, 0)
	p := &Pipeline{push: s.Push}
	if p.layout, err = d.newLayout(s.Push); err != nil {
		return nil, err
	}
	p.handle, err = d.compile(module, p.layout, s.Constants, c)
	return p, err
}

func (d *Device) newModule(code []byte) (uintptr, error) {
	words := make([]uint32, len(code)/4) // aligned
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(code)), code)
	info := &struct {
		header
		flags uint32
		_     uint32
		size  uintptr
		code  *uint32
	}{header: header{kind: shaderModuleCreateInfo}, size: uintptr(len(code)), code: &words[0]}
	var module uintptr
	err := call("vkCreateShaderModule", d.createModule, d.handle, uintptr(unsafe.Pointer(info)), 0, uintptr(unsafe.Pointer(&module)))
	return module, err
}

func (d *Device) newLayout(push int) (uintptr, error) {
	constants := &struct{ stages, offset, size uint32 }{computeStage, 0, uint32(push)}
	info := &struct {
		header
		flags, sets uint32
		set         unsafe.Pointer
		ranges      uint32
		_           uint32
		push        unsafe.Pointer
	}{header: header{kind: pipelineLayoutCreateInfo}, ranges: 1, push: unsafe.Pointer(constants)}
	var layout uintptr
	err := call("vkCreatePipelineLayout", d.createLayout, d.handle, uintptr(unsafe.Pointer(info)), 0, uintptr(unsafe.Pointer(&layout)))
	return d.made(layout, d.destroyLayout, err)
}

// mapEntry is a VkSpecializationMapEntry.
type mapEntry struct {
	id, offset uint32
	size       uintptr
}

// specialization is a VkSpecializationInfo.
type specialization struct {
	entries uint32
	_       uint32
	entry   *mapEntry
	size    uintptr
	data    *uint32
}

func newSpecialization(values []uint32) *specialization {
	if len(values) == 0 {
		return nil
	}
	entries := make([]mapEntry, len(values))
	for i := range entries {
		entries[i] = mapEntry{uint32(i), uint32(4 * i), 4}
	}
	return &specialization{entries: uint32(len(entries)), entry: &entries[0], size: uintptr(4 * len(values)), data: &values[0]}
}

func (d *Device) compile(module, layout uintptr, constants []uint32, c Cache) (uintptr, error) {
	type stage struct {
		header
		flags, stage uint32
		module       uintptr
		name         *byte
		constants    *specialization
	}
	info := &struct {
		header
		flags  uint32
		_      uint32
		stage  stage
		layout uintptr
		base   uintptr
		index  int32
		_      uint32
	}{
		header: header{kind: computePipelineInfo},
		stage:  stage{header: header{kind: pipelineShaderStageInfo}, stage: computeStage, module: module, name: cString("main"), constants: newSpecialization(constants)},
		flags:  dispatchBase,
		layout: layout, index: -1,
	}
	var handle uintptr
	err := call("vkCreateComputePipelines", d.createPipelines, d.handle, c.handle, 1, uintptr(unsafe.Pointer(info)), 0, uintptr(unsafe.Pointer(&handle)))
	return d.made(handle, d.destroyPipeline, err)
}
