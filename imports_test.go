package mambatrain_test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed lists the packages of this module that each package may import. Imports point one way.
var allowed = map[string][]string{
	"autograd/kernel":     {"internal/float16", "internal/quant", "internal/splitmix"},
	"autograd":            {"autograd/kernel", "internal/label", "internal/quant", "internal/splitmix"},
	"autograd/devicetest": {"autograd/kernel", "internal/float16"},
	"autograd/gradtest":   {"autograd", "autograd/kernel"},
	"autograd/vulkan":     {"autograd/kernel", "autograd/vulkan/vk", "internal/atomicfile"},
	"autograd/vulkan/vk":  {"internal/sharedlib"},
	"autograd/vulkan/vulkantest": {
		"autograd/kernel", "autograd/vulkan", "autograd/vulkan/vk", "internal/sharedlib",
	},
	"internal/atomicfile":  {"internal/fault", "internal/filelock"},
	"internal/chart":       {"internal/format"},
	"internal/contenthash": nil,
	"internal/fault":       {"internal/spelling"},
	"internal/filelock":    nil,
	"internal/format":      nil,
	"internal/float16":     nil,
	"internal/gguf":        {"internal/inputfile", "internal/mappedfile", "internal/quant"},
	"internal/quant":       {"internal/float16"},
	"internal/inputfile":   nil,
	"internal/homepath":    nil,
	"internal/mappedfile":  nil,
	"internal/label":       nil,
	"internal/ordered":     nil,
	"internal/pyjson":      {"internal/inputfile"},
	"internal/sharedlib":   nil,
	"internal/spelling":    nil,
	"internal/splitmix":    nil,
	"internal/testfile":    nil,
	"nn":                   {"autograd", "autograd/kernel"},
	"nn/weights":           {"autograd", "autograd/kernel", "internal/atomicfile", "internal/fault", "internal/gguf", "internal/inputfile", "internal/pyjson", "internal/quant"},
	"mamba":                {"nn", "nn/weights", "mamba/torchfile", "autograd", "autograd/kernel", "internal/atomicfile", "internal/fault", "internal/gguf", "internal/inputfile", "internal/label", "internal/pyjson", "internal/quant"},
	"mamba/torchfile":      {"nn/weights", "autograd/kernel", "internal/fault", "internal/inputfile"},
	"lora":                 {"nn", "nn/weights", "autograd", "autograd/kernel", "internal/atomicfile", "internal/fault", "internal/format", "internal/gguf", "internal/inputfile", "internal/pyjson", "internal/quant"},
	"data":                 {"data/source", "data/tokenizer", "internal/atomicfile", "internal/contenthash", "internal/fault", "internal/format", "internal/inputfile", "internal/label", "internal/mappedfile", "internal/ordered", "internal/splitmix"},
	"data/hub":             {"internal/atomicfile", "internal/contenthash", "internal/fault", "internal/filelock", "internal/homepath", "internal/inputfile"},
	"data/hub/hubtest":     nil,
	"data/source":          {"data/hub", "internal/atomicfile", "internal/fault", "internal/format", "internal/inputfile", "internal/ordered", "internal/pyjson", "internal/spelling"},
	"data/tokenizer":       {"data/tokenizer/jinja", "internal/atomicfile", "internal/contenthash", "internal/fault", "internal/gguf", "internal/inputfile", "internal/ordered", "internal/pyjson"},
	"data/tokenizer/jinja": {"internal/pyjson", "internal/testfile"},
	"trainer":              {"trainer/optim", "trainer/checkpoint", "nn/weights", "autograd", "autograd/kernel", "internal/atomicfile", "internal/fault", "internal/pyjson", "internal/splitmix"},
	"trainer/checkpoint":   {"internal/atomicfile", "internal/fault", "internal/filelock", "internal/pyjson"},
	"trainer/optim":        {"autograd", "autograd/kernel", "internal/fault"},
	"trainer/plot":         {"trainer/checkpoint", "internal/atomicfile", "internal/chart", "internal/format"},
	"trainer/tensorboard":  {"trainer", "trainer/checkpoint"},
	"trainer/mpi":          {"trainer", "autograd/kernel", "internal/fault", "internal/sharedlib"},
	"trainer/recipe": {
		"trainer", "trainer/checkpoint", "trainer/mpi", "trainer/optim", "trainer/plot", "trainer/tensorboard", "lora", "mamba",
		"mamba/torchfile", "nn", "nn/weights", "data", "data/hub", "data/source", "data/tokenizer", "autograd", "autograd/kernel", "internal/atomicfile", "internal/contenthash", "internal/fault",
		"internal/format", "internal/inputfile", "internal/label", "internal/ordered", "internal/pyjson", "internal/spelling",
	},
	"studio":             {"studio/runs", "trainer"},
	"studio/studiotest":  nil,
	"studio/runs":        {"configs", "trainer", "trainer/checkpoint", "trainer/recipe", "internal/filelock", "internal/pyjson"},
	"studio/jobs":        {"trainer/checkpoint", "internal/atomicfile", "internal/filelock", "internal/inputfile", "internal/pyjson"},
	"configs":            nil,
	"studio/models":      {"data/hub", "mamba", "studio", "studio/runs", "trainer", "trainer/checkpoint", "trainer/recipe"},
	"docs/bench/picture": {"internal/chart"},
	"cmd/mamba-train": {
		"configs", "studio", "studio/models", "studio/runs",
		"cmd/mamba-train/internal/cli", "cmd/mamba-train/internal/config", "cmd/mamba-train/internal/start", "trainer/recipe", "trainer", "trainer/checkpoint",
		"trainer/mpi", "trainer/plot", "lora", "mamba", "nn/weights", "data", "data/hub", "data/source", "data/tokenizer", "autograd", "autograd/kernel", "autograd/vulkan",
		"internal/atomicfile", "internal/chart", "internal/fault", "internal/format", "internal/homepath", "internal/inputfile", "internal/mappedfile", "internal/spelling",
	},
	"cmd/mamba-train/internal/cli": {
		"trainer", "trainer/checkpoint", "trainer/mpi", "nn/weights", "internal/atomicfile", "internal/fault", "internal/filelock", "internal/format", "internal/homepath", "internal/spelling",
	},
	"cmd/mamba-train/internal/start": {
		"cmd/mamba-train/internal/config", "configs", "studio", "studio/jobs", "studio/runs", "trainer/checkpoint", "trainer/recipe",
		"internal/atomicfile", "internal/fault", "internal/inputfile",
	},
	"cmd/mamba-train/internal/config": {
		"configs", "trainer", "trainer/recipe", "data/source", "lora", "internal/fault", "internal/format", "internal/homepath", "internal/inputfile", "internal/spelling",
	},
}

// restricted lists the libraries that only certain packages may import.
var restricted = map[string][]string{
	"gorgonia.org/gorgonia":             {"autograd"},
	"gorgonia.org/tensor":               {"autograd", "autograd/gradtest", "nn/weights", "lora", "mamba"},
	"github.com/spf13/viper":            {"cmd/mamba-train/internal/config"},
	"github.com/apache/arrow/":          {"data/source"},
	"gonum.org/v1/plot":                 {"internal/chart", "trainer/plot", "cmd/mamba-train", "docs/bench/picture"},
	"github.com/nlpodyssey/safetensors": {"nn/weights"},
	"github.com/chromedp/":              {"studio/studiotest"},
	"github.com/ebitengine/purego":      {"internal/sharedlib"},
}

func TestImportsPointOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, "mambatrain/")
		for _, imp := range p.Imports {
			check(t, name, imp)
		}
	}
}

func check(t *testing.T, name, imp string) {
	if ours, ok := strings.CutPrefix(imp, "mambatrain/"); ok && name != "mambatrain" {
		if may, known := allowed[name]; !known || !slices.Contains(may, ours) {
			t.Errorf("%s imports %s", name, ours)
		}
	}
	for lib, who := range restricted {
		if strings.HasPrefix(imp, lib) && !slices.Contains(who, name) {
			t.Errorf("%s imports %s, which only %v may", name, imp, who)
		}
	}
}
