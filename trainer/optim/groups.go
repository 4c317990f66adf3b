package optim

import (
	"regexp"
	"slices"
	"strings"

	ag "mambatrain/autograd"
)

// Group is a group of parameters that are updated with the same settings.
type Group struct {
	Params []*ag.Param
	Rate   float64 // learning rate relative to that of the schedule
	Decay  float64 // weight decay
}

// Groups groups the trainable parameters by weight decay, from which decay_rule exempts some, and by learning rate:
// that of an adapter's B is ratio times that of its A (LoRA+, Hayou et al. 2024; 1 is plain LoRA). The order within a
// group is preserved.
func Groups(params []*ag.Param, c Config, ratio float64) []Group {
	var groups []Group
	for _, p := range params {
		if !p.Trainable() {
			continue
		}
		g := Group{Rate: 1}
		if decays(c.DecayRule, p.Name) {
			g.Decay = c.WeightDecay
		}
		if isAdapterB(p.Name) {
			g.Rate = ratio
		}
		i := slices.IndexFunc(groups, func(o Group) bool { return o.Rate == g.Rate && o.Decay == g.Decay })
		if i < 0 {
			i, groups = len(groups), append(groups, g)
		}
		groups[i].Params = append(groups[i].Params, p)
	}
	return groups
}

// hfUndecayed matches the parameters that the Hugging Face Trainer exempts from weight decay. It misses A_log, D, and
// norm_f.
var hfUndecayed = regexp.MustCompile(`bias|layernorm|rmsnorm|(^|\.)norm($|\.)|_norm($|\.)`)

// decays reports whether weight decay applies to the named parameter. Pulling A_log, D, dt_bias, or the scale of a norm
// toward zero changes the model's time scales instead of regularizing it, so the mamba rule exempts them.
func decays(rule, name string) bool {
	if rule == "hf" {
		return !hfUndecayed.MatchString(strings.ToLower(name))
	}
	for part := range strings.SplitSeq(name, ".") {
		switch {
		case part == "initial_state", part == "A_log", part == "D", part == "bias", part == "dt_bias",
			strings.HasPrefix(part, "norm"), strings.HasSuffix(part, "norm"):
			return false
		}
	}
	return true
}

func isAdapterB(name string) bool {
	return strings.Contains(name, ".lora_B") || strings.Contains(name, ".lora_embedding_B")
}
