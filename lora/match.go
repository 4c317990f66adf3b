package lora

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	ag "mambatrain/autograd"
	"mambatrain/internal/fault"
	"mambatrain/nn"
)

// Match is the number of modules or parameters that a name or pattern in the configuration matched.
type Match struct {
	Key     string // target_modules, target_parameters, or modules_to_save
	Pattern string
	Count   int
}

// target is a slot to adapt, for outputs [from, to), or all outputs if both are 0.
type target struct {
	nn.Slot
	from, to int
	groups   []string // names of the row groups in that range; empty for all outputs
}

// headPath is the path of the output head in Hugging Face language models. all-linear excludes it.
const headPath = "lm_head"

// selection is what a configuration selects from a model.
type selection struct {
	targets []target
	params  []*ag.Param // trained in full
	matches []Match
	faults  fault.List
}

// choose resolves every name in the configuration, in which auto has already been replaced. Names that match nothing
// are reported together, along with the available ones.
func choose(m nn.Module, c Config) (*selection, error) {
	s := &selection{}
	if err := s.chooseTargets(m, c); err != nil {
		return nil, err
	}
	params := m.Params()
	s.chooseParams(params, "target_parameters", c.TargetParameters, isParameter)
	s.chooseParams(params, "modules_to_save", c.ModulesToSave, isInModule)
	s.chooseBiases(m, c)
	if err := s.checkUnmatched(m, c); err != nil {
		return nil, err
	}
	for _, t := range s.targets {
		name := t.Path + ".weight"
		whole := slices.Contains(s.params, t.Weight())
		if t.Weight().Name != name { // a tied head, which gets its own parameter if modules_to_save include it
			whole = slices.ContainsFunc(c.ModulesToSave, func(module string) bool { return isInModule(name, module) })
		}
		if whole {
			s.faults.Add("target_modules", "%s: would both get an adapter and be trained in full; choose one", t.Path)
		}
	}
	if err := s.faults.Err(); err != nil {
		return nil, fmt.Errorf("lora: config: %w", err)
	}
	return s, nil
}

func (s *selection) chooseTargets(m nn.Module, c Config) error {
	included, err := c.TargetModules.compile()
	if err != nil {
		return fmt.Errorf("lora: target_modules: %w", err)
	}
	excluded, err := c.ExcludeModules.compile()
	if err != nil {
		return fmt.Errorf("lora: exclude_modules: %w", err)
	}
	names := c.TargetModules.Names
	if p := c.TargetModules.Pattern; p != "" {
		names = []string{p}
	}
	hits := make([]int, len(names))
	for _, slot := range m.Slots() {
		_, no, err := excluded(slot.Path)
		if err != nil {
			return slowTargets("exclude_modules", err)
		}
		if no || !onLayer(slot.Path, c.LayersToTransform) {
			continue
		}
		i, ok, err := included(slot.Path)
		if err != nil {
			return slowTargets("target_modules", err)
		}
		if c.TargetModules.allLinear() {
			i, ok = 0, slot.Linear != nil && slot.Path != headPath
		}
		parts := included
		if ok {
			if !anyGroup(slot, excluded) {
				s.targets = append(s.targets, target{Slot: slot})
				hits[i]++
				continue
			}
			parts = func(string) (int, bool, error) { return i, true, nil }
		}
		if err := s.chooseGroups(slot, parts, excluded, hits); err != nil {
			return err
		}
	}
	var missed []string
	for i, name := range names {
		s.matches = append(s.matches, Match{"target_modules", name, hits[i]})
		if hits[i] > 0 {
			continue
		}
		if whole := s.containing(name); whole != "" {
			s.faults.Add("target_modules", "%q is part of %s, which gets an adapter as a whole: omit one of them", name, whole)
		} else {
			missed = append(missed, name)
		}
	}
	s.addUnmatched("target_modules", missed, under(c), m)
	return nil
}

// containing returns the path of a slot that is adapted as a whole and has a group of rows with the given name, or "".
func (s *selection) containing(name string) string {
	for _, t := range s.targets {
		named := func(g nn.RowGroup) bool { return endsIn(t.Path+"."+g.Name, name) }
		if len(t.groups) == 0 && slices.ContainsFunc(t.Groups, named) {
			return t.Path
		}
	}
	return ""
}

// addUnmatched adds a fault for names that match no module. under describes the settings that restrict the choice.
func (s *selection) addUnmatched(key string, names []string, under string, m nn.Module) {
	if len(names) == 0 {
		return
	}
	verb, quoted := "matches", make([]string, len(names))
	for i, name := range names {
		quoted[i] = strconv.Quote(name)
	}
	if len(names) > 1 {
		verb = "match"
	}
	s.faults.Add(key, "%s %s no module%s; the model has %s", strings.Join(quoted, ", "), verb, under, describe(m.Slots()))
}

// checkUnmatched adds faults for the names, patterns, and layer numbers that match no module of the model, adapted or
// not, in the settings that restrict or refine the choice of modules.
func (s *selection) checkUnmatched(m nn.Module, c Config) error {
	var modules []string // and parts of them
	var layers Layers
	for _, slot := range m.Slots() {
		modules = append(modules, slot.Path)
		for _, g := range slot.Groups {
			modules = append(modules, slot.Path+"."+g.Name)
		}
		if found := layerNumber.FindStringSubmatch(slot.Path); found != nil {
			if n, err := strconv.Atoi(found[2]); err == nil {
				layers = append(layers, n)
			}
		}
	}
	all := slices.Clone(modules) // PEFT also accepts modules that cannot get adapters in exclude_modules
	for _, p := range m.Params() {
		all = append(all, modulePath(p.Name))
	}
	excluded, err := c.ExcludeModules.unmatched(all)
	if err != nil {
		return slowTargets("exclude_modules", err)
	}
	ranks, err := c.RankPattern.unmatched(modules)
	if err != nil {
		return slowTargets("rank_pattern", err)
	}
	alphas, err := c.AlphaPattern.unmatched(modules)
	if err != nil {
		return slowTargets("alpha_pattern", err)
	}
	s.addUnmatched("exclude_modules", excluded, "", m)
	for _, n := range c.LayersToTransform {
		if len(layers) > 0 && !slices.Contains(layers, n) {
			s.faults.Add("layers_to_transform", "there is no layer %d; the layers are numbered from 0 to %d", n, slices.Max(layers))
		}
	}
	s.addUnmatched("rank_pattern", ranks, "", m)
	s.addUnmatched("alpha_pattern", alphas, "", m)
	return nil
}

// anyGroup reports whether meant matches any of the slot's row groups.
func anyGroup(slot nn.Slot, meant matcher) bool {
	return slices.ContainsFunc(slot.Groups, func(g nn.RowGroup) bool {
		_, ok, err := meant(slot.Path + "." + g.Name)
		return ok || err != nil // chooseGroups reports the error
	})
}

func slowTargets(key string, err error) error {
	return fmt.Errorf("lora: config: %w", fault.Fault{Path: key, Problem: err.Error()})
}

// chooseGroups looks for targets such as in_proj.x among the named row groups of a slot. Adjacent groups share one
// adapter.
func (s *selection) chooseGroups(slot nn.Slot, included, excluded matcher, hits []int) error {
	t := target{Slot: slot}
	for _, g := range slot.Groups {
		path := slot.Path + "." + g.Name
		i, ok, err := included(path)
		if err != nil {
			return slowTargets("target_modules", err)
		}
		_, no, err := excluded(path)
		if err != nil {
			return slowTargets("exclude_modules", err)
		}
		if !ok || no {
			continue
		}
		hits[i]++
		if n := len(t.groups); n > 0 && g.From != t.to {
			s.faults.Add("target_modules", "%s: %s and %s are not adjacent; include the groups between them", slot.Path, t.groups[n-1], g.Name)
		} else if n == 0 {
			t.from = g.From
		}
		t.to, t.groups = g.To, append(t.groups, g.Name)
	}
	if len(t.groups) == 0 {
		return nil
	}
	s.targets = append(s.targets, t)
	return nil
}

var layerNumber = regexp.MustCompile(`.*\.([^.]*)\.(\d+)\.`)

// onLayer reports whether path is in one of the layers; no layers means all. lists are the names of the layer lists
// to consider, such as "layers"; no lists means any.
func onLayer(path string, layers Layers, lists ...string) bool {
	if len(layers) == 0 {
		return true
	}
	m := layerNumber.FindStringSubmatch(path)
	if m == nil || len(lists) > 0 && !slices.Contains(lists, m[1]) {
		return false
	}
	n, err := strconv.Atoi(m[2])
	return err == nil && slices.Contains(layers, n)
}

// chooseParams adds the parameters for which hit reports a match with one of the names.
func (s *selection) chooseParams(params []*ag.Param, key string, names []string, hit func(param, name string) bool) {
	for _, name := range names {
		n := 0
		for _, p := range params {
			if hit(p.Name, name) {
				n++
				s.addParam(p)
			}
		}
		// A tied head does not have its own parameter yet.
		if n == 0 && key == "modules_to_save" && name == headPath {
			n = 1
		}
		s.matches = append(s.matches, Match{key, name, n})
		if n == 0 {
			s.faults.Add(key, "%q matches nothing; the model has %s", name, parameterNames(params))
		}
	}
}

func (s *selection) addParam(p *ag.Param) {
	if !slices.Contains(s.params, p) {
		s.params = append(s.params, p)
	}
}

// isParameter reports whether name is the parameter's name or a suffix of it, with or without .weight or .bias:
// conv1d matches both parameters of the convolution.
func isParameter(param, name string) bool {
	return endsIn(param, name) || endsIn(modulePath(param), name)
}

// isInModule reports whether the parameter belongs to a module with that name, or to a module inside it.
func isInModule(param, name string) bool {
	for path := param; ; {
		i := strings.LastIndexByte(path, '.')
		if i < 0 {
			return false
		}
		if path = path[:i]; endsIn(path, name) {
			return true
		}
	}
}

// modulePath returns a parameter's name without .weight or .bias.
func modulePath(param string) string {
	return strings.TrimSuffix(strings.TrimSuffix(param, ".weight"), ".bias")
}

func (s *selection) chooseBiases(m nn.Module, c Config) {
	for _, p := range m.Params() {
		if !isBias(p.Name) {
			continue
		}
		onTarget := slices.ContainsFunc(s.targets, func(t target) bool { return t.Path+".bias" == p.Name })
		if c.Bias == BiasAll || c.Bias == BiasLoraOnly && onTarget {
			s.addParam(p)
		}
	}
}

// isBias reports whether a parameter is a bias. PEFT decides that by the name, so dt_bias of Mamba-2 is one.
func isBias(param string) bool { return strings.HasSuffix(param, "bias") }

// under describes the settings that restrict the choice of modules, for an error.
func under(c Config) string {
	var parts []string
	if !c.ExcludeModules.empty() {
		parts = append(parts, "exclude_modules "+c.ExcludeModules.String())
	}
	if len(c.LayersToTransform) > 0 {
		parts = append(parts, fmt.Sprintf("layers_to_transform %v", []int(c.LayersToTransform)))
	}
	if len(parts) == 0 {
		return ""
	}
	return " under " + strings.Join(parts, " and ")
}

// describe lists the last components of the slots' paths, with one full path as an example.
func describe(slots []nn.Slot) string {
	var names []string
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, s := range slots {
		end := s.Path[strings.LastIndexByte(s.Path, '.')+1:]
		add(end)
		for _, g := range s.Groups {
			add(end + "." + g.Name)
		}
	}
	if len(slots) == 0 {
		return "none"
	}
	return strings.Join(names, ", ") + ", with full names like " + slots[len(slots)/2].Path
}

func parameterNames(params []*ag.Param) string {
	var names []string
	for _, p := range params {
		path := modulePath(p.Name)
		if end := path[strings.LastIndexByte(path, '.')+1:]; !slices.Contains(names, end) {
			names = append(names, end)
		}
	}
	return strings.Join(names, ", ")
}
