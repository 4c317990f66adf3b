package recipe

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"mambatrain/internal/contenthash"
	"mambatrain/lora"
	"mambatrain/mamba"
	"mambatrain/nn/weights"
)

// LoadState loads a state written by [Model.SaveState], which must be a state of this model with this adapter. A state
// without such a record, such as the initial state of an adapter, only needs to have matching shapes.
func (m *Model) LoadState(path string) (*mamba.State, error) {
	s, err := m.Model.LoadState(path)
	if err != nil {
		return nil, err
	}
	this, err := m.origin()
	if err != nil {
		return nil, err
	}
	switch got := s.Origin; {
	case got.Weights != "" && got.Weights != this.Weights:
		return nil, fmt.Errorf("state %s: it was computed with different weights from those of %s: use the model that wrote it, or another file", path, m.Dir)
	case got.Adapter == "" || got.Adapter == this.Adapter:
		return s, nil
	case got.Adapter == mamba.NoAdapter:
		return nil, fmt.Errorf("state %s: it was computed without an adapter: omit the adapter, or use another file", path)
	case this.Adapter == mamba.NoAdapter:
		return nil, fmt.Errorf("state %s: it was computed with an adapter: name it with --adapter, or use another file", path)
	default:
		return nil, fmt.Errorf("state %s: it was computed with an adapter other than %s: use that adapter, or another file", path, m.adapterDir)
	}
}

// SaveState writes a state of the model with a record of the model and adapter it belongs to.
func (m *Model) SaveState(s *mamba.State, path string) (err error) {
	if s.Origin, err = m.origin(); err != nil {
		return err
	}
	return s.Save(path)
}

// origin identifies the model and its adapter.
func (m *Model) origin() (o mamba.Origin, err error) {
	o = mamba.Origin{Family: m.Config.Family(), Adapter: mamba.NoAdapter}
	if o.Weights, err = sample(m.Dir); err != nil || m.adapterDir == "" {
		return o, err
	}
	settings, err := json.Marshal(m.Adapter.Config.Settings())
	if err != nil {
		return o, err
	}
	values, err := sample(filepath.Join(m.adapterDir, lora.WeightsFile))
	o.Adapter = contenthash.Sum(settings, []byte(values))
	return o, err
}

// sample returns a hash of the names, the shapes, and the first values of all tensors, which is fast to compute.
func sample(path string) (string, error) {
	const limit = 1 << 10
	files, err := weights.Open(path)
	if err != nil {
		return "", err
	}
	defer files.Close()
	var parts [][]byte
	for _, name := range files.Names() {
		x, _ := files.Tensor(name)
		v, err := x.Head(limit)
		if err != nil {
			return "", err
		}
		parts = append(parts, fmt.Appendf(nil, "%q %v %x", name, x.Shape, v))
	}
	return contenthash.Sum(parts...), nil
}
