package recipe

import (
	"slices"
	"strings"

	"mambatrain/internal/fault"
	"mambatrain/internal/spelling"
	"mambatrain/lora"
	"mambatrain/nn"
)

// targetError is the error of an adapter that cannot be put into a model's slots, with the modules that were probably
// meant by targets that name none of them; nil stays nil.
func targetError(err error, names []string, slots []nn.Slot) error {
	if err == nil {
		return nil
	}
	var there []string
	for _, s := range slots {
		last := s.Path[strings.LastIndexByte(s.Path, '.')+1:]
		there = append(there, s.Path, last)
		for _, g := range s.Groups {
			there = append(there, last+"."+g.Name)
		}
	}
	hint := ""
	for _, name := range names {
		if !slices.Contains(there, name) {
			hint += spelling.DidYouMean(name, there)
		}
	}
	return fault.Fault{Problem: err.Error() + hint}
}

// leavesBaseAlone reports whether an adapter reads and changes no weight of its base, so that the base may be kept in the
// kernels' layout only.
func leavesBaseAlone(c lora.Config) bool {
	return c.InitLoraWeights != lora.InitPissa && !c.UseDora && len(c.ModulesToSave) == 0 && len(c.TargetParameters) == 0
}

// baseOf returns the name of an adapter's base.
func baseOf(d *lora.Directory) (string, error) {
	if d.BaseModel == "" {
		return "", fault.NotFound("adapter %s does not say what its base is: name the model", d.Path)
	}
	return d.BaseModel, nil
}
