package vulkan

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mambatrain/autograd/vulkan/vk"
)

// good returns a device that meets the shaders' requirements.
func good(name string, kind vk.Kind) *vk.PhysicalDevice {
	return &vk.PhysicalDevice{
		Name: name, Kind: kind, Version: 1<<22 | 3<<12, BufferAddress: true, Timeline: true, Quads: true,
		Limits: vk.Limits{SharedMemory: sharedMemory, Invocations: groupSize, PushConstants: pushBytes},
	}
}

func TestChoose(t *testing.T) {
	old := good("Old GPU", vk.Discrete)
	old.BufferAddress = false
	list := []*vk.PhysicalDevice{old, good("Big GPU", vk.Discrete), good("Small GPU", vk.Integrated), good("llvmpipe", vk.Software)}
	for _, c := range []struct {
		o         Options
		want, err string
	}{
		{Options{}, "Big GPU", ""},
		{Options{Name: "integrated"}, "Small GPU", ""},
		{Options{Name: "small"}, "Small GPU", ""},
		{Options{Name: "software"}, "", "llvmpipe: it is a software device, which is slower than running without a device; MAMBA_TRAIN_DEVICE_SOFTWARE=1 allows it"},
		{Options{Name: "pipe", Software: true}, "llvmpipe", ""},
		{Options{Name: "old"}, "", "Old GPU: it does not support buffer device addresses"},
		{Options{Name: "none"}, "", `Big GPU: "none" matches neither its name nor its kind`},
	} {
		p, err := c.o.choose(list)
		switch {
		case err == nil && p.Name != c.want:
			t.Errorf("%+v: %s, want %s", c.o, p.Name, c.want)
		case err != nil && (c.err == "" || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%+v: error %v, want %s", c.o, err, c.err)
		case err == nil && c.err != "":
			t.Errorf("%+v: no error", c.o)
		}
	}
	if _, err := (Options{}).choose(nil); err == nil || err.Error() != "vulkan: the drivers found no device" {
		t.Errorf("without devices the error is %v", err)
	}
}

// child runs a test of this binary in another process, so that its C library sees different environment variables, and
// returns its output.
func child(t *testing.T, test string, env ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(append(os.Environ(), "MAMBA_TEST_CHILD=1"), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// forChild skips a test unless [child] runs it.
func forChild(t *testing.T) {
	if os.Getenv("MAMBA_TEST_CHILD") == "" {
		t.Skip("another test runs this one in another process")
	}
}

// TestOpenInChild prints the errors of opening and listing devices.
func TestOpenInChild(t *testing.T) {
	forChild(t)
	d, err := Open(FromEnvironment(""))
	if err == nil {
		d.Close()
	}
	t.Logf("error: %v", err)
	_, err = List(Options{})
	t.Logf("list: %v", err)
}

// TestOpen_errors checks that the error for each missing component is a single line.
func TestOpen_errors(t *testing.T) {
	open(t, testOptions()).Close()
	_, err := Open(Options{Library: filepath.Join(t.TempDir(), "libvulkan.so.1")})
	if err == nil || !strings.HasPrefix(err.Error(), "vulkan: no Vulkan library is installed: ") || !strings.HasSuffix(err.Error(), "install the GPU's driver and, on Linux, libvulkan1") {
		t.Errorf("without a library the error is %v", err)
	}
	nowhere := filepath.Join(t.TempDir(), "none.json")
	out := child(t, "TestOpenInChild", "VK_ICD_FILENAMES="+nowhere, "VK_DRIVER_FILES="+nowhere)
	if want := "error: vulkan: no Vulkan driver is installed; install the GPU's driver"; !strings.Contains(out, want) {
		t.Errorf("without a driver it prints\n%s\nwant %s", out, want)
	}
	list, err := List(testOptions())
	if err != nil {
		t.Fatal(err)
	}
	if list[0].Kind != vk.Software.String() {
		return
	}
	if out := child(t, "TestOpenInChild", "MAMBA_TRAIN_DEVICE_SOFTWARE="); !strings.Contains(out, "error: vulkan: no usable device: "+list[0].Name+": it is a software device") {
		t.Errorf("with a software device alone it prints\n%s", out)
	}
}
