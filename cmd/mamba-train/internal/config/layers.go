// Package config reads a run's configuration: defaults, a YAML file, the environment and --set, each stronger than the one
// before. Reading is strict, and all faults are reported together.
package config

import (
	"errors"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"

	"mambatrain/internal/fault"
	"mambatrain/internal/homepath"
	"mambatrain/internal/spelling"
	"mambatrain/trainer/recipe"
)

// envPrefix begins the names of environment variables that set keys of the configuration.
const envPrefix = "MAMBA_TRAIN_"

// notConfiguration are variables with the prefix that are no keys.
var notConfiguration = []string{"MAMBA_TRAIN_KERNELS", "MAMBA_TRAIN_DEVICE_SOFTWARE", "MAMBA_TRAIN_DEVICE_STAGED", "MAMBA_TRAIN_TEST_DATA"}

// envName is the variable that sets a key: MAMBA_TRAIN_TRAIN_LEARNING_RATE for train.learning_rate.
func envName(path string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// Variables lists the environment variables with the prefix that have a meaning.
func Variables() []string {
	list := slices.Clone(notConfiguration)
	for _, k := range Keys() {
		list = append(list, envName(k.Path))
	}
	return list
}

// Source is where a configuration comes from, in addition to the environment.
type Source struct {
	File     string   // a YAML file, "" for none
	Text     []byte   // what File has, which is not read then; nil: it is read
	Sets     []string // key.path=value, as of --set
	Flags    []Flag   // stronger than all others
	Defaults []string // as Sets, weaker than everything else
	// Uses limits the check of meaning to some keys, for commands that use no others; nil checks all.
	Uses func(key string) bool
}

// Flag is a flag of the command line that sets a key.
type Flag struct{ Name, Key, Value string }

// InSection returns a [Source.Uses] for the keys of a section.
func InSection(section string) func(key string) bool {
	return func(key string) bool { return strings.HasPrefix(key, section+".") }
}

// layerValue is a value as viper carries it: a node, so that it keeps its type, and who gave it. Viper's own reading would
// lower-case the keys of maps and cut 1.5 down to 1.
type layerValue struct {
	node   *yaml.Node
	origin string
}

// Load reads the configuration: defaults, overridden by the file, that by the environment and that by --set. All
// faults, of form and of meaning, are reported at once.
func Load(src Source) (*recipe.Config, error) {
	var faults faultList
	s, v, sections := newSchema(), viper.New(), map[string]bool{}
	if src.File != "" || src.Text != nil {
		f := s.readSource(src, &faults)
		if f.nodes == nil {
			return nil, faults.err()
		}
		maps.Copy(sections, f.sections)
		nested := map[string]any{}
		for path, node := range f.nodes {
			put(nested, path, layerValue{node, src.File})
		}
		if err := v.MergeConfigMap(nested); err != nil {
			return nil, err
		}
	}
	s.bindEnvironment(v, sections, &faults)
	s.applySets(v, src, sections, &faults)

	c := withSections()
	origins := s.fill(c, v, &faults)
	if !sections["lora"] {
		c.LoRA = nil
	}
	if !sections["distributed"] {
		c.Distributed = nil
	}
	form := faults
	var wrong fault.List
	wrong.Include("", c.Validate())
	for _, f := range wrong {
		if src.Uses != nil && !src.Uses(f.Path) || form.explain(f) {
			continue
		}
		origin, ok := origins[withoutIndex(f.Path)]
		if !ok {
			origin = src.File
		}
		faults = append(faults, originFault{origin, f})
	}
	return c, faults.err()
}

// explain reports whether a fault of meaning only follows from these: it is of a key that could not be read, or needs one.
func (l faultList) explain(meaning fault.Fault) bool {
	return slices.ContainsFunc(l, func(f originFault) bool {
		key := withoutIndex(f.Path)
		return key != "" && (withoutIndex(meaning.Path) == key || strings.HasPrefix(meaning.Path, key+".") ||
			strings.Contains(key, ".") && strings.Contains(meaning.Problem, key))
	})
}

// withoutIndex is the key that a path such as train.trainable[1] belongs to.
func withoutIndex(path string) string {
	key, _, _ := strings.Cut(path, "[")
	return key
}

// fill sets the values that were given and returns the origin of each.
func (s schema) fill(c *recipe.Config, v *viper.Viper, faults *faultList) (origins map[string]string) {
	origins = map[string]string{}
	for _, k := range keysIn(c) {
		g, err := s.get(v, k.Path)
		if g.node == nil && err == nil {
			continue
		}
		origins[k.Path] = g.origin
		fresh := newValue(k.Place.Type())
		if err == nil {
			err = decode(g.node, fresh)
		}
		if err != nil {
			faults.include(g.origin, k.Path, err)
			continue
		}
		if k.namesFiles {
			expandPaths(fresh)
		}
		k.Place.Set(fresh)
	}
	return origins
}

// expandPaths expands ~ and variables in the paths of a value.
func expandPaths(value reflect.Value) {
	switch p := value.Addr().Interface().(type) {
	case *string:
		*p = homepath.Expand(*p)
	case *recipe.Sources:
		for i := range *p {
			(*p)[i].Path = homepath.Expand((*p)[i].Path)
		}
	case *recipe.EvalSets:
		for i := range *p {
			expandPaths(reflect.ValueOf(&(*p)[i].Sources).Elem())
		}
	}
}

func newValue(t reflect.Type) reflect.Value { return reflect.New(t).Elem() }

// put places a value in nested maps by its path.
func put(m map[string]any, path string, v any) {
	section, rest, nested := strings.Cut(path, ".")
	if !nested {
		m[path] = v
		return
	}
	inner, ok := m[section].(map[string]any)
	if !ok {
		inner = map[string]any{}
		m[section] = inner
	}
	put(inner, rest, v)
}

// bindEnvironment joins each key to its variable. A variable that has the prefix and names no key is a fault.
func (s schema) bindEnvironment(v *viper.Viper, sections map[string]bool, faults *faultList) {
	paths := map[string]string{}
	for _, path := range s.paths {
		paths[envName(path)] = path
		v.MustBindEnv(path, envName(path))
	}
	for _, kv := range os.Environ() {
		name, text, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(notConfiguration, name) || text == "" {
			continue
		}
		if path, ok := paths[name]; ok {
			markPresent(sections, path)
			continue
		}
		faults.add("environment", name, "names no key of the configuration%s", spelling.DidYouMean(name, slices.Sorted(maps.Keys(paths))))
	}
}

// get returns the value that wins for a key; its node is nil where nobody gave one.
func (s schema) get(v *viper.Viper, path string) (layerValue, error) {
	switch x := v.Get(path).(type) {
	case layerValue:
		return x, nil
	case string: // from the environment
		node, err := s.parse(path, x)
		return layerValue{node, "environment " + envName(path)}, err
	}
	return layerValue{}, nil
}

// applySets takes the values of --set, of flags, and of defaults.
func (s schema) applySets(v *viper.Viper, src Source, sections map[string]bool, faults *faultList) {
	apply := func(origin, set string, put func(string, any)) {
		path, text, ok := strings.Cut(set, "=")
		if !ok {
			faults.add(origin, "", "want key.path=value")
			return
		}
		if slices.Contains(optionalSections, path) && slices.Contains([]string{"", "{}", "null"}, text) {
			sections[path] = text != "null"
			return
		}
		path, node, err := s.assign(v, path, text)
		if err != nil {
			faults.add(origin, "", "%v", err)
			return
		}
		put(path, layerValue{node, origin})
		markPresent(sections, path)
	}
	for _, set := range src.Defaults {
		apply("", set, v.SetDefault)
	}
	for _, set := range src.Sets {
		apply("--set "+set, set, v.Set)
	}
	for _, f := range src.Flags {
		apply("--"+f.Name+" "+f.Value, f.Key+"="+f.Value, v.Set)
	}
}

// assign returns the key that path=text sets, and its value. A path may lead to an entry of a map:
// lora.rank_pattern.x_proj=16. Then whatever follows the key is the entry's name, dots included.
func (s schema) assign(v *viper.Viper, path, text string) (string, *yaml.Node, error) {
	if s.settings[path] != nil {
		n, err := s.parse(path, text)
		return path, n, err
	}
	for _, p := range s.paths {
		key, ok := strings.CutPrefix(path, p+".")
		if !ok || !isMap(s.settings[p]) {
			continue
		}
		item, err := parseText(text)
		if err != nil {
			return p, nil, err
		}
		old, err := s.get(v, p)
		return p, withEntry(old.node, key, item), err
	}
	section, key := "", path
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		section, key = path[:i], path[i+1:]
	}
	return path, nil, errors.New(s.unknown(section, key))
}

func isMap(t reflect.Type) bool {
	return t.Kind() == reflect.Map || strings.HasPrefix(t.Name(), "Pattern[")
}

// withEntry returns the mapping m with an entry replaced or added; m may be nil.
func withEntry(m *yaml.Node, key string, item *yaml.Node) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode}
	if m != nil && m.Kind == yaml.MappingNode {
		for k, old := range pairs(m) {
			if k.Value != key {
				out.Content = append(out.Content, k, old)
			}
		}
	}
	out.Content = append(out.Content, textNode(key), item)
	return out
}

// markPresent marks the section as present that a key belongs to.
func markPresent(sections map[string]bool, path string) {
	if section, _, nested := strings.Cut(path, "."); nested {
		sections[section] = true
	}
}

// parse reads the text of a value for a key. If the value is a text, or has a short form and does not begin as a list or a
// map, it is taken as it is: a path may begin with a star, which is an alias in YAML. Everything else is YAML.
func (s schema) parse(path, text string) (*yaml.Node, error) {
	short := hasShortForm(s.settings[path])
	if err := fault.CheckText("", text); err != nil {
		return nil, err
	}
	if short && !strings.HasPrefix(text, "[") && !strings.HasPrefix(text, "{") || s.settings[path].Kind() == reflect.String && !short {
		return textNode(text), nil
	}
	return parseText(text)
}

func parseText(text string) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if doc.Kind == 0 { // nothing but blanks
		return textNode(""), nil
	}
	return resolve(doc.Content[0]), nil
}
