package recipe

import (
	"math/rand/v2"

	"mambatrain/lora"
	"mambatrain/mamba"
)

// Second seeds of the generators that draw from a run's seed, one per use, so that no two generate the same numbers.
const (
	initStream    = 0x696e6974
	adapterStream = 0x6c6f7261
	splitStream   = 0x73706c6974
)

// NewModel returns a model with new weights. The same seed gives the same weights as in a run from scratch. It returns
// a fault if the model does not fit in memory.
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
