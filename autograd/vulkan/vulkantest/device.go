// Package vulkantest opens a Vulkan device for tests of code that runs on devices.
package vulkantest

import (
	"errors"
	"os"
	"testing"

	"mambatrain/autograd/kernel"
	"mambatrain/autograd/vulkan"
	"mambatrain/autograd/vulkan/vk"
	"mambatrain/internal/sharedlib"
)

// Options returns the options for the device that MAMBA_TRAIN_DEVICE names, or the best one, which may be software.
func Options() vulkan.Options {
	o := vulkan.FromEnvironment(os.Getenv("MAMBA_TRAIN_DEVICE"))
	o.Software = true
	return o
}

// Use opens a device and makes it the process's device until the test ends. Without the tag vulkan, a library, or a
// driver, it skips the test, or fails it if MAMBA_REQUIRE_VULKAN=1 is set.
func Use(t testing.TB, o vulkan.Options) *vulkan.Device {
	t.Helper()
	d, err := vulkan.Open(o)
	if os.Getenv("MAMBA_REQUIRE_VULKAN") != "1" {
		for _, missing := range []error{sharedlib.ErrUnsupported, vk.ErrNoLibrary, vk.ErrNoDriver} {
			if errors.Is(err, missing) {
				t.Skipf("this test needs the tag vulkan and a driver: %v", err)
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	kernel.UseDevice(d)
	t.Cleanup(func() {
		kernel.UseDevice(nil)
		d.Close()
	})
	return d
}
