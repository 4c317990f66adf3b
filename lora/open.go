package lora

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mambatrain/internal/fault"
	"mambatrain/internal/format"
	"mambatrain/internal/inputfile"
	"mambatrain/nn/weights"
)

// Directory is an open PEFT adapter directory. Only headers are in memory.
type Directory struct {
	Path   string
	Config Config
	// BaseModel is the base's path or Hugging Face id according to the adapter, for display.
	BaseModel string
	// Revision is the base's revision on the hub; "" if not recorded.
	Revision string
	// Base is the fingerprint of the weights that the adapter was trained on; "" if not recorded.
	Base string
	// Blocks names the block types of the base's matrices during training; "" if they were not quantized.
	Blocks string
	// VocabSize is the number of rows that the table and the head must have if the base was resized; 0 if not
	// recorded.
	VocabSize int
	// PeftVersion is the version of peft that wrote the adapter; "" if it is not recorded.
	PeftVersion string

	file     *weights.Reader
	contents contents
	modules  []module
	params   []fileParam
	pissa    bool // PEFT's own unconverted form, which requires a changed base
	rows     int  // of the largest table or head in the file, whole or adapted; 0 if it has none
}

// module is one adapted module in a file.
type module struct {
	path      string // as in the file; the model's path may have a prefix
	table     bool
	rank      int
	scale     float64
	a, b      weights.Tensor
	magnitude weights.Tensor // no name if there is none
	from, to  int
	parameter string // the parameter's full name if A and B adapt a parameter instead of a module
	pissa     bool   // the principal components must first be removed from the weight
}

// fileParam is a tensor that replaces a parameter.
type fileParam struct {
	name   string
	tensor weights.Tensor
	// copied marks a copy of the base's table or head, which PEFT saves when they have adapters, or one that was trained
	// as a parameter of the base: it also replaces the one that is tied to it.
	copied bool
}

// Open reads the settings and the header of an adapter directory written by any version of PEFT. Tensors with unknown
// names are errors, and so are settings that would change the result in ways that this package does not support.
func Open(dir string) (*Directory, error) {
	b, err := inputfile.Read(filepath.Join(dir, ConfigFile), inputfile.MaxConfig)
	if err != nil {
		return nil, fmt.Errorf("lora: adapter: %w", err)
	}
	p, err := parsePeft(b)
	if err != nil {
		return nil, fmt.Errorf("lora: %s: %w", filepath.Join(dir, ConfigFile), err)
	}
	path := filepath.Join(dir, WeightsFile)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("lora: adapter: %w%s", err, torchHint(dir))
	}
	file, err := weights.Open(path)
	if err != nil {
		return nil, fmt.Errorf("lora: adapter: %w", err)
	}
	d := &Directory{Path: dir, Config: p.config(), PeftVersion: p.PeftVersion, file: file}
	if p.BaseModel != nil {
		d.BaseModel = *p.BaseModel
	}
	if p.Revision != nil {
		d.Revision = *p.Revision
	}
	d.pissa = p.InitLoraWeights == InitPissa
	if err := d.read(p); err != nil {
		file.Close()
		return nil, fmt.Errorf("lora: %s: %w", path, err)
	}
	return d, nil
}

func torchHint(dir string) string {
	if _, err := os.Stat(filepath.Join(dir, "adapter_model.bin")); err != nil {
		return ""
	}
	return "; adapter_model.bin is a PyTorch file: save the adapter again with safe_serialization=True"
}

// NotFinite lists the adapter's tensors that contain NaN or infinite values.
func (d *Directory) NotFinite(ctx context.Context) ([]string, error) { return d.file.NotFinite(ctx) }

// Tensors returns the number of the adapter's tensors.
func (d *Directory) Tensors() int { return len(d.file.Names()) }

// Bytes returns the size of the adapter's tensors in its file.
func (d *Directory) Bytes() int64 { return d.file.Bytes() }

// Close closes the file.
func (d *Directory) Close() error { return d.file.Close() }

// read applies the record of mamba-train, sorts the file's tensors into modules and whole parameters, and checks that
// they are those that the settings require.
func (d *Directory) read(p peftFile) error {
	var rec record
	if text, ok := d.file.Metadata[recordKey]; ok {
		if err := json.Unmarshal([]byte(text), &rec); err != nil {
			return fmt.Errorf("header: %s: %w", recordKey, err)
		}
		d.adopt(rec)
	}
	strengths, err := p.config().strengths()
	if err != nil {
		return fmt.Errorf("%s: %v", ConfigFile, err) // not %w: the file is damaged, so this is not an invalid setting
	}
	if d.contents, err = p.contents(d.Config.TargetParameters); err != nil {
		return fmt.Errorf("%s: %v", ConfigFile, err)
	}
	modules, faults := d.sortTensors()
	for _, m := range modules {
		name, err := d.contents.targetParameter(m)
		if err != nil {
			return fmt.Errorf("%s: %w", ConfigFile, err)
		}
		if !strings.HasSuffix(name, ".weight") {
			m.parameter = name
		}
		// PEFT saves the reduced weight of an adapted head.
		m.pissa = d.pissa && !m.table && !d.has(m.path+".weight")
		// PEFT looks up the rank and alpha of a parameter by its own name.
		if m.rank, m.scale, err = strengths.of(cmp.Or(name, m.path)); err != nil {
			return fmt.Errorf("%s: %v", ConfigFile, err)
		}
		if problem := m.complete(p, rec.Groups[m.path]); problem != "" {
			faults.Add(m.path, "%s", problem)
		}
		d.modules = append(d.modules, *m)
	}
	if len(faults) > 0 {
		return fmt.Errorf("%s not understood:\n  %s", format.Counted(len(faults), "tensor"), faults.Report())
	}
	if len(d.modules)+len(d.params) == 0 && !d.hasInitialState() {
		return fmt.Errorf("contains no tensors")
	}
	if err := d.surplus(); err != nil {
		return err
	}
	d.measureTables()
	return nil
}

// sortTensors adds the tensors that replace parameters to d.params and returns the modules that the others belong to,
// sorted by path.
func (d *Directory) sortTensors() (modules []*module, faults fault.List) {
	found := map[string]*module{}
	whole := map[string]string{} // tensors that replace parameters, by parameter name
	adapterName := ""
	for _, name := range d.file.Names() {
		t, _ := d.file.Tensor(name)
		k := parseKey(name)
		if k.fault == "" && t.DType != weights.F32 && t.DType != weights.BF16 && t.DType != weights.F16 {
			k.fault = fmt.Sprintf("is %s, want F32, BF16, or F16", t.DType)
		}
		if k.fault == "" && k.adapter != "" && adapterName != "" && k.adapter != adapterName {
			k.fault = fmt.Sprintf("belongs to adapter %q, but others belong to %q", k.adapter, adapterName)
		}
		if k.fault != "" {
			faults.Add(name, "%s", k.fault)
			continue
		}
		if k.adapter != "" {
			adapterName = k.adapter
		}
		if k.original {
			continue
		}
		if k.part == "" {
			if other, twice := whole[k.path]; twice {
				if !d.savedTwice(name, other) {
					faults.Add(name, "is the same parameter as %s", other)
				}
				continue
			}
			whole[k.path] = name
			d.params = append(d.params, fileParam{k.path, t, d.isCopy(k)})
			continue
		}
		m := found[k.path]
		if m == nil {
			m = &module{path: k.path}
			found[k.path] = m
		}
		if other := m.put(k.part, t); other != "" {
			faults.Add(name, "is the same as %s", other)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(found)) {
		modules = append(modules, found[path])
	}
	return modules, faults
}

// savedTwice reports whether two names of a parameter are those under which PEFT saves a bias with bias: all and
// modules_to_save, and the tensors are equal.
func (d *Directory) savedTwice(name, other string) bool {
	const saved = "." + savedModule + "."
	if strings.Contains(name, saved) == strings.Contains(other, saved) {
		return false
	}
	a, _ := d.file.Tensor(name)
	b, _ := d.file.Tensor(other)
	x, err := a.Float32s()
	if err != nil {
		return false
	}
	y, err := b.Float32s()
	return err == nil && slices.Equal(a.Shape, b.Shape) && slices.Equal(x, y)
}

// measureTables sets VocabSize from a table or head in the file, because PEFT saves these with their new sizes.
func (d *Directory) measureTables() {
	for _, w := range d.params {
		module, ok := strings.CutSuffix(w.name, ".weight")
		if ok && (endsIn(module, headPath) || endsIn(module, "embeddings")) && len(w.tensor.Shape) == 2 {
			d.VocabSize, d.rows = max(d.VocabSize, w.tensor.Shape[0]), max(d.rows, w.tensor.Shape[0])
		}
	}
	for _, m := range d.modules {
		switch {
		case m.table:
			d.rows = max(d.rows, m.a.Shape[1])
		case endsIn(m.path, headPath):
			d.rows = max(d.rows, m.b.Shape[0])
		}
	}
}

// Rows returns the number of rows that the table and the head must have for the adapter, given that of the base. It is
// smaller if the base was resized to a tokenizer with fewer ids, because published models have rows without a token.
func (d *Directory) Rows(base int) int {
	rows := max(base, d.VocabSize)
	if d.rows > 0 {
		rows = min(rows, d.rows)
	}
	return rows
}

// adopt takes from the record of mamba-train what adapter_config.json cannot represent.
func (d *Directory) adopt(rec record) {
	d.Base, d.Blocks, d.VocabSize = rec.Base, rec.Blocks, rec.Vocab
	d.Config.TargetModules, d.Config.ExcludeModules = rec.Config.TargetModules, rec.Config.ExcludeModules
	d.Config.TargetParameters, d.Config.LoraPlusRatio = rec.Config.TargetParameters, rec.Config.LoraPlusRatio
	d.Config.InitLoraWeights, d.Config.InitialState = rec.Config.InitLoraWeights, rec.Config.InitialState
	if len(rec.Groups) > 0 && rec.Config.InitLoraWeights != InitPissa { // InitPissa doubles the ranks
		d.Config.RankPattern, d.Config.AlphaPattern = rec.Config.RankPattern, rec.Config.AlphaPattern
	}
}

// has reports whether the file replaces the parameter with the given name in the model.
func (d *Directory) has(param string) bool {
	return slices.ContainsFunc(d.params, func(w fileParam) bool { return sameName(param, w.name) })
}

// repeats reports whether w is a copy of the head that equals the copy of the table with the given name. PEFT saves both
// after resizing a model in which they are tied.
func (d *Directory) repeats(w fileParam, table string) (bool, error) {
	i := slices.IndexFunc(d.params, func(p fileParam) bool { return p.copied && sameName(table, p.name) })
	if i < 0 || !w.copied || !slices.Equal(d.params[i].tensor.Shape, w.tensor.Shape) {
		return false, nil
	}
	return equalTensors(d.params[i].tensor, w.tensor)
}

// isCopy reports whether a whole tensor may be just a copy of the base's table or head.
func (d *Directory) isCopy(k key) bool {
	module, ok := strings.CutSuffix(k.path, ".weight")
	saved := slices.ContainsFunc(d.Config.ModulesToSave, func(name string) bool { return isInModule(k.path, name) })
	return ok && !saved && (endsIn(module, headPath) || endsIn(module, "embeddings"))
}

// key is a parsed tensor name.
type key struct {
	path    string // of the module, or of the whole parameter
	part    string // "", lora_A, lora_B, lora_embedding_A, lora_embedding_B, or lora_magnitude_vector
	adapter string // the adapter's name; "" if the file omits it
	fault   string
	// original marks PEFT's copy of a bias of the base, which it saves with bias: all and modules_to_save.
	original bool
}

// savedModule is the component that PEFT adds to the names of modules in modules_to_save.
const savedModule = "modules_to_save"

// parseKey parses a name such as base_model.model.lm_head.lora_A.default.weight.
func parseKey(name string) key {
	for strings.HasPrefix(name, prefix) {
		name = name[len(prefix):]
	}
	parts := strings.Split(name, ".")
	at := slices.IndexFunc(parts, func(s string) bool { return strings.HasPrefix(s, "lora_") })
	if at < 0 {
		return wholeKey(parts)
	}
	k := key{path: strings.Join(without(parts[:at], "base_layer"), "."), part: parts[at]}
	tail := parts[at+1:]
	switch k.part {
	case "lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector":
	default:
		k.fault = "is not a known part of an adapter"
		return k
	}
	if len(tail) > 0 && tail[len(tail)-1] == "bias" {
		k.fault = "lora_bias: B has its own bias; merge it with peft"
		return k
	}
	if len(tail) > 0 && tail[len(tail)-1] == "weight" {
		tail = tail[:len(tail)-1]
	}
	switch len(tail) {
	case 0:
	case 1:
		k.adapter = tail[0]
	default:
		k.fault = "has an unknown suffix"
	}
	return k
}

func wholeKey(parts []string) key {
	if slices.Contains(parts, "token_adapter") {
		return key{fault: "trainable tokens are not supported; merge it with peft"}
	}
	parts = without(parts, "base_layer")
	k := key{original: slices.Contains(parts, "original_module")}
	if i := slices.Index(parts, savedModule); i >= 0 {
		rest := parts[i+1:]
		if len(rest) > 1 {
			k.adapter, rest = rest[0], rest[1:]
		}
		parts = append(slices.Clone(parts[:i]), rest...)
	}
	k.path = strings.Join(parts, ".")
	return k
}

func without(parts []string, drop string) []string {
	return slices.DeleteFunc(slices.Clone(parts), func(s string) bool { return s == drop })
}

// put sets one part of the module and returns the name of the tensor that it replaces.
func (m *module) put(part string, t weights.Tensor) (before string) {
	place := &m.magnitude
	switch part {
	case "lora_embedding_A", "lora_A":
		place = &m.a
	case "lora_embedding_B", "lora_B":
		place = &m.b
	}
	m.table = m.table || strings.HasPrefix(part, "lora_embedding_")
	before = place.Name
	*place = t
	return before
}

// complete checks the module's tensors against each other and the settings, and returns the problem or "".
func (m *module) complete(p peftFile, group [2]int) string {
	a, b := m.a, m.b
	if a.Name == "" || b.Name == "" {
		return "A or B is missing"
	}
	if strings.Contains(a.Name, "lora_embedding_") != strings.Contains(b.Name, "lora_embedding_") {
		return "A and B are of different kinds"
	}
	if len(a.Shape) != 2 || len(b.Shape) != 2 || a.Shape[0] != b.Shape[1] || a.Shape[0] == 0 {
		return fmt.Sprintf("A is %v, B is %v: want (r, in) and (out, r)", a.Shape, b.Shape)
	}
	if m.rank != a.Shape[0] {
		return fmt.Sprintf("A and B have rank %d, but %s has %d", a.Shape[0], ConfigFile, m.rank)
	}
	if m.from, m.to = group[0], group[1]; m.from < 0 || m.to < m.from || m.to > b.Shape[0] || m.table && m.to > 0 {
		return fmt.Sprintf("row group %v does not match B, which is %v", group, b.Shape)
	}
	if m.magnitude.Name != "" && !p.UseDora || m.magnitude.Name == "" && p.UseDora {
		return fmt.Sprintf("use_dora is %v in %s, but the magnitude vector is %s", p.UseDora, ConfigFile, map[bool]string{true: "missing", false: "present"}[p.UseDora])
	}
	if m.magnitude.Name != "" && !slices.Equal(m.magnitude.Shape, b.Shape[:1]) {
		return fmt.Sprintf("magnitude is %v, B is %v", m.magnitude.Shape, b.Shape)
	}
	return ""
}

// change reads the module's values.
func (m *module) change() (*change, error) {
	c := &change{rank: m.rank, scale: m.scale, from: m.from, to: m.to, table: m.table}
	var err error
	if c.a, err = m.a.Float32s(); err != nil {
		return nil, err
	}
	if c.b, err = m.b.Float32s(); err != nil {
		return nil, err
	}
	if m.magnitude.Name != "" {
		if c.magnitude, err = m.magnitude.Float32s(); err != nil {
			return nil, err
		}
	}
	if m.to > 0 {
		c.b = c.b[m.from*m.rank : m.to*m.rank]
		if c.magnitude != nil {
			c.magnitude = c.magnitude[m.from:m.to]
		}
	}
	return c, nil
}
