package lora

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"mambatrain/internal/atomicfile"
	"mambatrain/internal/fault"
	"mambatrain/nn"
	"mambatrain/nn/weights"
)

// SaveOptions describe the base of a saved adapter.
type SaveOptions struct {
	// BaseModel is the base's path or Hugging Face id, for display and for peft; omitted if "".
	BaseModel string
}

// Save writes the adapter to dir in PEFT's format, creating dir if necessary: adapter_model.safetensors,
// initialStateFile if there is one, and then adapter_config.json, each atomically. It reads the files back and
// compares every setting and every bit. After an error, dir contains the previous adapter or none at all.
func (a *Adapter) Save(dir string, o SaveOptions) (err error) {
	if err := a.checkMerged("save"); err != nil {
		return err
	}
	config, err := json.MarshalIndent(a.peftConfig(o), "", "  ")
	if err != nil {
		return fmt.Errorf("lora: save: %w", err)
	}
	metadata, err := a.record()
	if err != nil {
		return fmt.Errorf("lora: save: %w", err)
	}
	if err := atomicfile.MkdirAll(dir); err != nil {
		return fmt.Errorf("lora: save: %w", err)
	}
	tmp, err := atomicfile.CreateDir(dir)
	if err != nil {
		return fmt.Errorf("lora: save: %w", err)
	}
	defer tmp.Remove()
	sources := a.sources()
	if err := weights.Save(filepath.Join(tmp.Path, WeightsFile), sources, metadata); err != nil {
		return tmp.Name(dir, err)
	}
	if err := a.saveStarts(tmp.Path); err != nil {
		return tmp.Name(dir, err)
	}
	if err := atomicfile.WriteFile(filepath.Join(tmp.Path, ConfigFile), append(config, '\n')); err != nil {
		return fmt.Errorf("lora: save: %w", tmp.Name(dir, err))
	}
	if err := a.verify(tmp.Path, sources); err != nil {
		return fmt.Errorf("lora: %s: the files read back differ from what was written: %w", dir, tmp.Name(dir, err))
	}
	if err := tmp.MoveInto(dir, []string{ConfigFile}, isStale); err != nil {
		return fmt.Errorf("lora: save: %w", err)
	}
	return nil
}

// isStale reports whether a file from an earlier adapter in the directory would be read as part of this one.
func isStale(name string) bool { return name == initialStateFile }

func (a *Adapter) record() (map[string]string, error) {
	r := record{Base: a.Base, Blocks: a.Blocks, Vocab: a.VocabSize, Config: a.Config, Groups: map[string][2]int{}}
	for _, l := range a.layers {
		if l.adapter.To > 0 {
			r.Groups[l.Path] = [2]int{l.adapter.From, l.adapter.To}
		}
	}
	b, err := json.Marshal(r)
	return map[string]string{recordKey: string(b)}, err
}

// sources lists the tensors of the file: those of the layers, then the whole parameters.
func (a *Adapter) sources() []weights.Entry {
	var list []weights.Entry
	add := func(name string, v []float32, shape ...int) {
		list = append(list, weights.FromFloat32s(name, shape, v, weights.F32))
	}
	for _, l := range a.layers {
		A, B, c := l.adapter.A, l.adapter.B, l.change()
		r, b := c.rank, c.b
		if l.principal != nil {
			c.a, b = l.principal.plain(c)
			r *= 2
		}
		out := B.Shape()[0]
		if c.to > 0 {
			out = l.Linear.Out()
			b = widen(b, r, c.from, c.to, out)
		}
		add(A.Name, c.a, r, A.Shape()[1])
		add(B.Name, b, out, r)
		if m := l.adapter.Magnitude; m != nil {
			magnitude := c.magnitude
			if c.to > 0 {
				magnitude = l.allMagnitudes()
			}
			add(m.Name, magnitude, len(magnitude))
		}
	}
	for _, w := range a.overrides {
		add(a.fileName(w), w.own.Float32s(), w.param.Shape()...)
	}
	return list
}

// widen extends the rows of B for a row group to all rows, with zeros elsewhere. To PEFT this is the same adapter.
func widen(b []float32, rank, from, to, out int) []float32 {
	all := make([]float32, out*rank)
	copy(all[from*rank:to*rank], b)
	return all
}

// allMagnitudes returns the magnitudes of all the layer's rows. Outside the row group they are the norms of the rows.
func (l *layer) allMagnitudes() []float32 {
	all := layer{Slot: l.Slot, adapter: &nn.LowRank{}}
	norms := all.norms()
	copy(norms[l.adapter.From:l.adapter.To], l.adapter.Magnitude.Float32s())
	return norms
}

// fileName returns the name of a whole parameter in the file. PEFT moves the base's parameters of an adapted layer one
// level down.
func (a *Adapter) fileName(w *override) string {
	path := modulePath(w.param.Name)
	kind := w.param.Name[len(path):]
	if (w.copied || kind == ".bias") && slices.ContainsFunc(a.layers, func(l *layer) bool { return l.Path == path }) {
		return prefix + path + ".base_layer" + kind
	}
	return prefix + w.param.Name
}

// verify opens dir and compares its contents with what Save should have written.
func (a *Adapter) verify(dir string, sources []weights.Entry) error {
	d, err := Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if len(d.modules) != len(a.layers) || len(d.params) != len(a.overrides) {
		return fmt.Errorf("%d adapters and %d parameters, want %d and %d", len(d.modules), len(d.params), len(a.layers), len(a.overrides))
	}
	if diff := d.Config.Differences(a.fileConfig(d.Config)); len(diff) > 0 {
		return diff[0]
	}
	var errs []error
	for _, s := range sources {
		errs = append(errs, same(d.file, s))
	}
	for _, m := range d.modules {
		if i := slices.IndexFunc(a.layers, func(l *layer) bool { return l.Path == m.path }); i < 0 {
			errs = append(errs, fmt.Errorf("%s: unexpected adapter", m.path))
		} else if want := a.layers[i].adapter.Scale; math.Abs(m.scale-want) > 1e-12*want {
			errs = append(errs, fmt.Errorf("%s: scale %v, want %v", m.path, m.scale, want))
		}
	}
	return fault.Join(append(errs, a.verifyStarts(dir))...)
}

// fileConfig returns the expected settings in the file. Doubled ranks are taken from the settings that were read.
func (a *Adapter) fileConfig(read Config) Config {
	c := a.Config
	if slices.ContainsFunc(a.layers, func(l *layer) bool { return l.principal != nil }) {
		c.R, c.LoraAlpha, c.UseRSLora, c.RankPattern, c.AlphaPattern = read.R, read.LoraAlpha, read.UseRSLora, read.RankPattern, read.AlphaPattern
	}
	return c
}

// same returns an error unless a tensor in the file equals its source, bit for bit.
func same(file *weights.Reader, s weights.Entry) error {
	t, ok := file.Tensor(s.Name)
	if !ok {
		return fmt.Errorf("%s: is missing", s.Name)
	}
	got, err := t.Float32s()
	if err != nil {
		return err
	}
	v, err := s.Values()
	if err != nil {
		return err
	}
	want := v.([]float32)
	equal := func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }
	if !slices.Equal(t.Shape, s.Shape) || !slices.EqualFunc(got, want, equal) {
		return fmt.Errorf("%s: differs", s.Name)
	}
	return nil
}
