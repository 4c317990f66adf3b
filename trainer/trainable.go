package trainer

import (
	"fmt"
	"regexp"

	ag "mambatrain/autograd"
	"mambatrain/internal/fault"
)

// SelectTrainable makes the parameters whose names match one of the patterns anywhere trainable and freezes the others.
// If there are no patterns, all parameters are trainable. A pattern that matches nothing is an error because it is
// probably a spelling mistake.
func SelectTrainable(params []*ag.Param, patterns []string) error {
	chosen := make([]bool, len(params))
	var faults []error
	for _, pattern := range patterns {
		re, err := regexp.Compile(pattern)
		if err != nil {
			faults = append(faults, fmt.Errorf("trainer: trainable: %q is not a regular expression: %w", pattern, err))
			continue
		}
		hit := false
		for i, p := range params {
			if re.MatchString(p.Name) {
				chosen[i], hit = true, true
			}
		}
		if !hit {
			faults = append(faults, fmt.Errorf("trainer: trainable: %q matches no parameter; their names look like %s", pattern, example(params)))
		}
	}
	if err := fault.Join(faults...); err != nil {
		return err
	}
	for i, p := range params {
		if !chosen[i] && len(patterns) > 0 {
			p.Freeze()
		} else if err := p.Train(); err != nil {
			return err
		}
	}
	return nil
}

func example(params []*ag.Param) string {
	if len(params) == 0 {
		return "(the model has none)"
	}
	return params[len(params)/2].Name
}
