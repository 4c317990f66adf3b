package lora

import (
	"fmt"
	"slices"
	"strings"
)

// Support is how well a reader supports an adapter.
type Support string

// A reader applies the whole adapter, applies only part of it, or rejects it.
const (
	Works  Support = "yes"
	Partly Support = "partly"
	Fails  Support = "no"
)

// Verdict describes how well one reader supports an adapter.
type Verdict struct {
	Reader  string
	Support Support
	Why     string // "" if it works
	Instead string // what to do instead; "" if it works
}

// String returns the level of support and the reason if it is limited.
func (v Verdict) String() string {
	if v.Why == "" {
		return string(v.Support)
	}
	return fmt.Sprintf("%s: %s; %s", v.Support, v.Why, v.Instead)
}

// mergeInstead is the alternative that always works.
const mergeInstead = "merge the adapter and load the merged model"

// Compatibility returns how well each reader supports the adapter, and what to do instead if it does not. It applies
// to peft up to 0.21, transformers up to 5.23, and llama.cpp as of 2026. llamaCPP is the reason why llama.cpp does not
// support the base, or nil if it does.
func (d *Directory) Compatibility(tie Tie, llamaCPP error) []Verdict {
	list := []Verdict{
		d.oldPeft(), d.newPeft(), d.transformers(), d.peftMerge(tie), d.llamaCPP(tie, llamaCPP),
	}
	if strings.HasSuffix(strings.ToLower(d.BaseModel), ".gguf") {
		for i := range list[:len(list)-1] {
			if v := &list[i]; v.Support == Works {
				v.Support, v.Why, v.Instead = Partly, "it cannot open the base model, a GGUF file", "convert the base with export --format hf and load that"
			}
		}
	}
	if !d.hasInitialState() {
		return list
	}
	for i := range list {
		v := &list[i]
		if v.Instead = "use the adapter with mamba-train"; v.Support == Works {
			v.Support, v.Why = Partly, "documents start from a zero state, because it does not read "+initialStateFile
		}
	}
	return list
}

// targets lists the last components of the adapted modules' paths.
func (d *Directory) targets() []string {
	var ends []string
	for _, m := range d.modules {
		if end := m.path[strings.LastIndexByte(m.path, '.')+1:]; !slices.Contains(ends, end) {
			ends = append(ends, end)
		}
	}
	return ends
}

func (d *Directory) oldPeft() Verdict {
	v := Verdict{Reader: "peft 0.9 to 0.15", Support: Works}
	hasTable := slices.ContainsFunc(d.modules, func(m module) bool { return m.table })
	switch {
	case len(d.modules) == 0:
		v.Support, v.Why, v.Instead = Fails, "no module has an adapter; the adapter only replaces parameters", mergeInstead
	case slices.ContainsFunc(d.modules, func(m module) bool { return m.parameter != "" }):
		v.Support, v.Why, v.Instead = Fails, "adapters on parameters (target_parameters) require 0.17", "use a newer version of peft, or "+mergeInstead
	case d.Config.UseDora && hasTable:
		v.Support, v.Why, v.Instead = Partly, "DoRA on embeddings requires 0.13", "use 0.13 or newer"
	}
	return v
}

func (d *Directory) newPeft() Verdict {
	v := Verdict{Reader: "peft 0.16 and newer", Support: Works}
	var refused []string
	for _, end := range d.targets() {
		if end == "out_proj" || end == "conv1d" {
			refused = append(refused, end)
		}
	}
	switch {
	case len(d.modules) == 0:
		v.Support, v.Why, v.Instead = Fails, "no module has an adapter; the adapter only replaces parameters", mergeInstead
	case len(refused) > 0:
		v.Support = Fails
		v.Why = fmt.Sprintf("it rejects adapters on %s of Mamba models", strings.Join(refused, " and "))
		v.Instead = "use peft 0.15, train without that target, or " + mergeInstead
	}
	return v
}

// transformers checks for an adapter on dt_proj: transformers computes Δ directly from the weight of dt_proj and
// bypasses the adapter.
func (d *Directory) transformers() Verdict {
	v := Verdict{Reader: "transformers 5.15.1 and newer, through peft", Support: Works}
	if slices.Contains(d.targets(), "dt_proj") {
		v.Support, v.Why, v.Instead = Partly, "its Mamba ignores adapters on dt_proj", mergeInstead
	}
	return v
}

func (d *Directory) peftMerge(tie Tie) Verdict {
	v := Verdict{Reader: "peft's merge_and_unload", Support: Works}
	var shared []string
	for _, m := range d.modules {
		if m.table || endsIn(m.path, headPath) {
			shared = append(shared, m.path)
		}
	}
	if tie.Head != "" && len(shared) > 0 {
		v.Support = Fails
		v.Why = fmt.Sprintf("the head is tied to the embedding table, so a change to %s would affect both", strings.Join(shared, " and "))
		v.Instead = "merge with mamba-train, which unties the head"
	}
	return v
}

func (d *Directory) llamaCPP(tie Tie, base error) Verdict {
	v := Verdict{Reader: "llama.cpp (--lora, after export --format gguf)", Support: Works}
	if base != nil {
		v.Support, v.Why, v.Instead = Fails, "it cannot run the base model: "+strings.ReplaceAll(base.Error(), "\n  ", "; "), "use mamba-train or transformers"
		return v
	}
	if faults := d.ggufFaults(tie); len(faults) > 0 {
		const limit = 3
		var reasons []string
		for _, f := range faults[:min(len(faults), limit)] {
			reasons = append(reasons, f.Error())
		}
		v.Why = strings.Join(reasons, "; ")
		if more := len(faults) - limit; more > 0 {
			v.Why += fmt.Sprintf("; and %d more", more)
		}
		v.Support, v.Instead = Fails, "merge the adapter and export the merged model as GGUF"
	}
	return v
}
