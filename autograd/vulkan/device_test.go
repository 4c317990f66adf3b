package vulkan

import (
	"errors"
	"os"
	"sync"
	"testing"

	"mambatrain/autograd/kernel"
	"mambatrain/autograd/vulkan/vk"
	"mambatrain/internal/sharedlib"
)

// required reports whether tests must fail, rather than be skipped, if Vulkan is missing.
func required() bool { return os.Getenv("MAMBA_REQUIRE_VULKAN") == "1" }

// testOptions returns the options from the environment, but allows software devices.
func testOptions() Options {
	o := FromEnvironment(os.Getenv("MAMBA_TRAIN_DEVICE"))
	o.Software = true
	return o
}

// open opens a device for a test and skips the test if Vulkan or a driver is missing.
func open(t testing.TB, o Options) *Device {
	t.Helper()
	d, err := Open(o)
	switch {
	case err == nil:
		return d
	case !required() && errors.Is(err, sharedlib.ErrUnsupported):
		t.Skip("this test needs the tag vulkan")
	case !required() && errors.Is(err, vk.ErrNoLibrary):
		t.Skipf("this test needs Vulkan, such as Debian's libvulkan1 and mesa-vulkan-drivers: %v", err)
	case !required() && errors.Is(err, vk.ErrNoDriver):
		t.Skipf("this test needs a driver, such as Debian's mesa-vulkan-drivers: %v", err)
	}
	t.Fatal(err)
	return nil
}

var shared struct {
	sync.Mutex
	devices map[bool]*Device // by Options.Staged
}

// device returns a device that tests share. Tests use it one at a time.
func device(t testing.TB, staged bool) *Device {
	t.Helper()
	shared.Lock()
	t.Cleanup(shared.Unlock)
	if shared.devices[staged] == nil {
		o := testOptions()
		o.Staged = staged
		d := open(t, o)
		if shared.devices == nil {
			shared.devices = map[bool]*Device{}
		}
		shared.devices[staged] = d
	}
	return shared.devices[staged]
}

// onBoth runs a test on a device with unified memory, if there is one, and on one with staged memory.
func onBoth(t *testing.T, test func(t *testing.T, d *Device)) {
	for name, staged := range map[string]bool{"unified": false, "staged": true} {
		t.Run(name, func(t *testing.T) { test(t, device(t, staged)) })
	}
}

// TestSupports_largeArrays checks that arrays with more elements than a shader can index are refused.
func TestSupports_largeArrays(t *testing.T) {
	d := new(Device)
	for _, s := range []kernel.DeviceSizes{
		{Rows: 1 << 20, Channels: 1 << 11},
		{Rows: 1 << 15, Channels: 2048, ScanStates: 64},
		{Rows: 1 << 17, Channels: 5120, SSDStates: 128, SSDHead: 64, SSDGroups: 1},
	} {
		if err := d.Supports(s); err != nil {
			t.Error(err)
		}
		s.Rows *= 4
		if d.Supports(s) == nil {
			t.Errorf("%+v is supported", s)
		}
	}
}
