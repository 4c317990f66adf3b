package vk

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"mambatrain/internal/sharedlib"
)

// ErrNoLibrary is returned by [Open] if no Vulkan library can be loaded.
var ErrNoLibrary = errors.New("no Vulkan library is installed")

// ErrNoDriver is returned by [Open] if the Vulkan library finds no driver.
var ErrNoDriver = errors.New("no Vulkan driver is installed")

// version12 is VK_API_VERSION_1_2.
const version12 = 1<<22 | 2<<12

// Instance is the connection to the library.
type Instance struct {
	handle uintptr
	instanceFunctions
}

type instanceFunctions struct {
	deviceProc, physicalDevices, properties, memory, queues, features, extensions, createDevice, destroy uintptr
}

// libraries returns the possible names of the loader, and of MoltenVK, which works without a loader.
func libraries() []string {
	switch runtime.GOOS {
	case "darwin":
		return []string{"libvulkan.1.dylib", "libMoltenVK.dylib", "/usr/local/lib/libvulkan.1.dylib", "/opt/homebrew/lib/libvulkan.1.dylib", "/opt/homebrew/lib/libMoltenVK.dylib"}
	case "windows":
		return []string{"vulkan-1.dll"}
	}
	return []string{"libvulkan.so.1", "libvulkan.so"}
}

// Open opens the library at path, or the system's if path is empty, and creates an instance. Errors may wrap [ErrNoLibrary],
// [ErrNoDriver], or sharedlib.ErrUnsupported.
func Open(path string) (*Instance, error) {
	paths := libraries()
	if path != "" {
		paths = []string{path}
	}
	lib, err := sharedlib.Open(sharedlib.Local, paths...)
	switch {
	case errors.Is(err, sharedlib.ErrUnsupported):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %v", ErrNoLibrary, err)
	}
	proc := lib.Symbol("vkGetInstanceProcAddr")
	if proc == 0 {
		return nil, fmt.Errorf("%w: %s has no vkGetInstanceProcAddr", ErrNoLibrary, lib.Path)
	}
	return newInstance(func(instance uintptr, name string) uintptr {
		return sharedlib.Call(proc, instance, uintptr(unsafe.Pointer(cString(name))))
	})
}

func newInstance(lookup func(instance uintptr, name string) uintptr) (*Instance, error) {
	i := new(Instance)
	var err error
	if i.handle, err = createInstance(lookup(0, "vkCreateInstance")); err != nil {
		var r Result
		if errors.As(err, &r) && r == -9 {
			return nil, ErrNoDriver
		}
		return nil, err
	}
	return i, bind([]entry{
		{"vkGetDeviceProcAddr", &i.deviceProc},
		{"vkEnumeratePhysicalDevices", &i.physicalDevices},
		{"vkGetPhysicalDeviceProperties2", &i.properties},
		{"vkGetPhysicalDeviceMemoryProperties", &i.memory},
		{"vkGetPhysicalDeviceQueueFamilyProperties", &i.queues},
		{"vkGetPhysicalDeviceFeatures2", &i.features},
		{"vkEnumerateDeviceExtensionProperties", &i.extensions},
		{"vkCreateDevice", &i.createDevice},
		{"vkDestroyInstance", &i.destroy},
	}, func(name string) uintptr { return lookup(i.handle, name) })
}

// createInstance creates a Vulkan 1.2 instance.
func createInstance(create uintptr) (uintptr, error) {
	if create == 0 {
		return 0, ErrNoDriver
	}
	app := &struct {
		header
		name       *byte
		version    uint32
		_          uint32
		engine     *byte
		engineVer  uint32
		apiVersion uint32
	}{header: header{kind: applicationInfo}, name: cString("mamba-train"), engine: cString("mamba-train"), apiVersion: version12}
	info := &struct {
		header
		flags      uint32
		_          uint32
		app        unsafe.Pointer
		layers     uint32
		_          uint32
		layerNames **byte
		extensions uint32
		_          uint32
		extNames   **byte
	}{header: header{kind: instanceCreateInfo}, app: unsafe.Pointer(app)}
	if runtime.GOOS == "darwin" {
		info.flags = 1 // VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR
		info.extensions, info.extNames = cStrings([]string{"VK_KHR_portability_enumeration"})
	}
	var handle uintptr
	err := call("vkCreateInstance", create, uintptr(unsafe.Pointer(info)), 0, uintptr(unsafe.Pointer(&handle)))
	return handle, err
}

// Close destroys the instance. All devices must be closed first.
func (i *Instance) Close() { sharedlib.Call(i.destroy, i.handle, 0) }

// PhysicalDevices lists the machine's devices and their capabilities.
func (i *Instance) PhysicalDevices() ([]*PhysicalDevice, error) {
	const limit = 64
	n, handles := new(uint32), new([limit]uintptr)
	*n = limit
	err := call("vkEnumeratePhysicalDevices", i.physicalDevices, i.handle, uintptr(unsafe.Pointer(n)), uintptr(unsafe.Pointer(handles)))
	var r Result
	if err != nil && !(errors.As(err, &r) && r > 0) { // positive is VK_INCOMPLETE: there are more
		return nil, err
	}
	list := make([]*PhysicalDevice, *n)
	for k := range list {
		list[k] = newPhysicalDevice(i, handles[k])
	}
	return list, nil
}
