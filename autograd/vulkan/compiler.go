package vulkan

import (
	"embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"mambatrain/autograd/vulkan/vk"
	"mambatrain/internal/atomicfile"
)

//go:generate ./compile-shaders spv

// spirv are the compiled shaders.
//
//go:embed spv/*.spv
var spirv embed.FS

// compiler creates pipelines from shaders on first use.
type compiler struct {
	pipelines map[shader]*vk.Pipeline
	cache     vk.Cache
	cachePath string // "" for none
	added     int    // pipelines not yet in the file
}

// shader identifies a pipeline: a file and the values of its specialization constants.
type shader struct {
	name      string
	constants [maxConstants]uint32
	count     int
}

// maxConstants is the maximum number of specialization constants of a shader.
const maxConstants = 10

func (d *Device) startCompiler(folder string) error {
	d.pipelines = map[shader]*vk.Pipeline{}
	var data []byte
	if folder != "" {
		p := d.physical
		d.cachePath = filepath.Join(folder, fmt.Sprintf("%04x-%04x-%s", p.Vendor, p.ID, hex.EncodeToString(p.CacheID[:])))
		data, _ = os.ReadFile(d.cachePath) // without the file, shaders are compiled again
	}
	var err error
	if d.cache, err = d.vk.NewCache(data); err != nil {
		return d.failed("open", err)
	}
	return nil
}

// pipeline returns the pipeline for a shader, or nil after an error.
func (d *Device) pipeline(s shader) *vk.Pipeline {
	if p := d.pipelines[s]; p != nil {
		return p
	}
	code, err := spirv.ReadFile("spv/" + s.name + ".spv")
	if err != nil {
		panic("vulkan: unknown shader " + s.name)
	}
	p, err := d.vk.NewPipeline(vk.Shader{Code: code, Constants: s.constants[:s.count], Push: pushBytes}, d.cache)
	if err != nil {
		d.fail("compile "+s.name, err)
		return nil
	}
	d.pipelines[s] = p
	d.added++
	return p
}

// saveCache writes the driver's compiled shaders to the file if there are new ones. Errors are ignored: without the
// file, shaders are compiled again.
func (d *Device) saveCache() {
	if d.cachePath == "" || d.added == 0 || d.lost != nil {
		return
	}
	d.added = 0
	data, err := d.vk.CacheData(d.cache)
	if err != nil || os.MkdirAll(filepath.Dir(d.cachePath), 0o755) != nil {
		return
	}
	_ = atomicfile.WriteFile(d.cachePath, data)
}
