package recipe

import (
	"math/rand/v2"

	"mambatrain/lora"
	"mambatrain/mamba"
)

// Second seeds of the generators that draw from a run's seed, one for each use, so that none repeats another's numbers.
const (
	initStream    = 0x696e6974
	adapterStream = 0x6c6f7261
	splitStream   = 0x73706c6974
)

// NewModel returns a model with new weights. The same seed gives the same weights as a run from scratch has. A model that
// does not fit into memory is a fault.
func NewModel(sizes mamba.Config, scheme mamba.Init, seed uint64, o mamba.LoadOptions) (*mamba.Model, error) {
	if err := checkFootprint(sizes, o, 0); err != nil {
		return nil, err
	}
	return mamba.New(sizes, scheme, rand.New(rand.NewPCG(seed, initStream)), o)
}

// NewAdapter puts new adapters into a model. The same seed gives the same adapters as in a run.
func NewAdapter(m *mamba.Model, c lora.Config, seed uint64) (*lora.Adapter, error) {
	return lora.Inject(m, c, rand.New(rand.NewPCG(seed, adapterStream)))
}
