package mamba

import (
	"fmt"

	"mambatrain/internal/fault"
)

// FalconMamba is Mamba-1 with RMS norms, without weights, of the low-rank Δ, B, and C. Zuo et al. 2024.
func init() {
	register(&family{
		modelType: "falcon_mamba",
		name:      "FalconMamba",
		sizes:     mamba1Sizes,
		defaults:  falconDefaults,
		presets:   []preset{{"falcon-7b", []string{"falcon-mamba-7b", "falcon3-mamba-7b"}, falcon7B}},
		fields: func(c *Config) []field {
			return append(mamba1Fields(c), field{"mixer_rms_eps", &c.MixerRMSEps})
		},
		aliases:  map[string]string{"use_falcon_mambapy": "use_mambapy"},
		derive:   deriveInner,
		faults:   falconFaults,
		fromGGUF: &ggufSource{is: func(h *ggufHeader) bool { return h.arch == "mamba" && h.hasNorms() }, read: mamba1FromGGUF},
		mixer: func(b *builder, path string) ownMixer {
			m := b.mamba1(path)
			m.NormEps = b.m.Config.MixerRMSEps
			return m
		},
		gguf: falconGGUF,
	})
}

func falconDefaults() Config {
	c := mamba1Defaults()
	c.ModelType, c.Architectures, c.MixerRMSEps = "falcon_mamba", []string{"FalconMambaForCausalLM"}, 1e-6
	return c
}

// falcon7B sets the sizes of tiiuae/falcon-mamba-7b. Its config.json, too, has an expand that does not match
// intermediate_size.
func falcon7B(c *Config) {
	c.VocabSize, c.HiddenSize, c.NumHiddenLayers = 65024, 4096, 64
	c.Expand, c.IntermediateSize = 16, 8192
	c.TieWordEmbeddings = false
	c.EOSTokenID, c.PadTokenID = TokenIDs{11}, 11
}

func falconFaults(c Config) fault.List {
	faults := mamba1Faults(c)
	faults.Positive("mixer_rms_eps", c.MixerRMSEps)
	return faults
}

// falconGGUF is like mamba1GGUF but adds a note if the norms' epsilons differ: llama.cpp has one epsilon for all norms.
func falconGGUF(c Config) (ggufArchitecture, fault.List) {
	arch, faults := mamba1GGUF(c)
	if c.MixerRMSEps != c.LayerNormEpsilon {
		arch.note = fmt.Sprintf("llama.cpp normalizes Δ, B, and C with layer_norm_epsilon, %v, instead of mixer_rms_eps, %v: its logits differ slightly",
			c.LayerNormEpsilon, c.MixerRMSEps)
	}
	return arch, faults
}
