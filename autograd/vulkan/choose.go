package vulkan

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mambatrain/autograd/vulkan/vk"
)

// Options select a device.
type Options struct {
	// Name is part of the device's name, in any case, or its kind: discrete, integrated, virtual, or software. If empty,
	// the first device of the best kind is selected.
	Name string
	// Software allows software devices. Their results are correct, but they are far slower than running without a
	// device.
	Software bool
	// Staged treats memory shared with the host as if the host could not access it.
	Staged bool
	// Library is the path of the Vulkan library; empty for the system's.
	Library string
	// Cache is the folder for compiled shaders; empty for none.
	Cache string
}

// FromEnvironment returns the options for a device with the given name. MAMBA_TRAIN_DEVICE_SOFTWARE=1 allows software
// devices, MAMBA_TRAIN_DEVICE_STAGED=1 is for tests, and compiled shaders are cached in the user's cache folder.
func FromEnvironment(name string) Options {
	o := Options{Name: name, Software: os.Getenv("MAMBA_TRAIN_DEVICE_SOFTWARE") == "1", Staged: os.Getenv("MAMBA_TRAIN_DEVICE_STAGED") == "1"}
	if dir, err := os.UserCacheDir(); err == nil {
		o.Cache = filepath.Join(dir, "mamba-train", "vulkan")
	}
	return o
}

// DeviceInfo describes a device of this machine.
type DeviceInfo struct {
	Name, Driver, Kind string
	Version            string // supported version of Vulkan
	Memory             uint64 // bytes on the device
	Refused            string // why it cannot be used with these options; "" if it can
}

// List returns the machine's devices in order of preference.
func List(o Options) ([]DeviceInfo, error) {
	instance, err := vk.Open(o.Library)
	if err != nil {
		return nil, explain(err)
	}
	defer instance.Close()
	list, err := o.candidates(instance)
	if err != nil {
		return nil, err
	}
	infos := make([]DeviceInfo, len(list))
	for i, p := range list {
		infos[i] = DeviceInfo{p.Name, p.Driver, p.Kind.String(), p.Version.String(), localMemory(p), o.refusal(p)}
	}
	return infos, nil
}

// explain adds advice to an error from [vk.Open].
func explain(err error) error {
	switch {
	case errors.Is(err, vk.ErrNoLibrary):
		return fmt.Errorf("vulkan: %w; install the GPU's driver and, on Linux, libvulkan1", err)
	case errors.Is(err, vk.ErrNoDriver):
		return fmt.Errorf("vulkan: %w; install the GPU's driver: on Linux, mesa-vulkan-drivers or the vendor's", err)
	}
	return fmt.Errorf("vulkan: %w; on Linux, use the build with -tags vulkan", err)
}

// candidates returns all devices, sorted by kind.
func (o Options) candidates(instance *vk.Instance) ([]*vk.PhysicalDevice, error) {
	list, err := instance.PhysicalDevices()
	if err != nil {
		return nil, fmt.Errorf("vulkan: list devices: %w", err)
	}
	slices.SortStableFunc(list, func(a, b *vk.PhysicalDevice) int { return cmp.Compare(rank(a.Kind), rank(b.Kind)) })
	return list, nil
}

// rank orders device kinds from most to least preferred.
func rank(k vk.Kind) int {
	return slices.Index([]vk.Kind{vk.Discrete, vk.Integrated, vk.Virtual, vk.Other, vk.Software}, k)
}

// refusal returns the reason why a device cannot be used, or "" if it can.
func (o Options) refusal(p *vk.PhysicalDevice) string {
	switch problem := p.Problem(); {
	case problem != "":
		return problem
	case p.Kind == vk.Software && !o.Software:
		return "it is a software device, which is slower than running without a device; MAMBA_TRAIN_DEVICE_SOFTWARE=1 allows it"
	case p.Limits.SharedMemory < sharedMemory || p.Limits.Invocations < groupSize || p.Limits.PushConstants < pushBytes:
		return fmt.Sprintf("it supports %d bytes of shared memory, %d invocations per group, and %d bytes of push constants; want at least %d, %d, and %d",
			p.Limits.SharedMemory, p.Limits.Invocations, p.Limits.PushConstants, sharedMemory, groupSize, pushBytes)
	case !o.named(p):
		return fmt.Sprintf("%q matches neither its name nor its kind", o.Name)
	}
	return ""
}

// The limits that the shaders need. Vulkan guarantees only 16 KiB, 128, and 128.
const (
	sharedMemory = 16 << 10 // bytes
	groupSize    = 256      // invocations
	pushBytes    = 128
)

func (o Options) named(p *vk.PhysicalDevice) bool {
	name := strings.ToLower(o.Name)
	return name == "" || name == p.Kind.String() || strings.Contains(strings.ToLower(p.Name), name)
}

// choose returns the first usable device.
func (o Options) choose(list []*vk.PhysicalDevice) (*vk.PhysicalDevice, error) {
	var reasons []string
	for _, p := range list {
		why := o.refusal(p)
		if why == "" {
			return p, nil
		}
		reasons = append(reasons, p.Name+": "+why)
	}
	if len(list) == 0 {
		return nil, errors.New("vulkan: the drivers found no device")
	}
	return nil, fmt.Errorf("vulkan: no usable device: %s", strings.Join(reasons, "; "))
}

// localMemory returns the size of the device's own memory in bytes.
func localMemory(p *vk.PhysicalDevice) (n uint64) {
	for _, h := range p.Heaps {
		if h.Flags&1 != 0 {
			n += h.Size
		}
	}
	return n
}
