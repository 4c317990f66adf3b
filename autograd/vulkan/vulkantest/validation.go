package vulkantest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Validate runs a test of this binary in another process with the Khronos validation layer, which checks calls and the
// synchronization of copies, and returns what the layer reports. The process has the additional environment variables env,
// and MAMBA_TEST_CHILD=1. Validate skips the calling test if the layer is missing, or fails it if
// MAMBA_REQUIRE_VULKAN=1 is set.
func Validate(t testing.TB, test string, env ...string) (reports []string) {
	t.Helper()
	if files, _ := filepath.Glob("/usr/share/vulkan/explicit_layer.d/*validation*"); len(files) == 0 {
		const missing = "this test needs the validation layer, such as Debian's vulkan-validationlayers"
		if os.Getenv("MAMBA_REQUIRE_VULKAN") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	cmd := exec.Command(os.Args[0], "-test.run="+test, "-test.v")
	cmd.Env = append(append(os.Environ(), "MAMBA_TEST_CHILD=1", "VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation",
		"VK_LAYER_ENABLES=VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT"), env...)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: ") {
		t.Fatalf("%s under the validation layer: %v\n%s", test, err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "Validation") {
			reports = append(reports, line)
		}
	}
	return reports
}
