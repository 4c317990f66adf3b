// Package config reads a run's configuration: defaults, a YAML file, the environment, and --set, in increasing priority.
// Reading is strict, and all faults are reported together.
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

// envPrefix is the prefix of environment variables that set configuration keys.
const envPrefix = "MAMBA_TRAIN_"

// notConfiguration lists variables that have the prefix but do not set a key.
var notConfiguration = []string{"MAMBA_TRAIN_KERNELS", "MAMBA_TRAIN_DEVICE_SOFTWARE", "MAMBA_TRAIN_DEVICE_STAGED", "MAMBA_TRAIN_TEST_DATA"}

// envName returns the variable that sets a key: MAMBA_TRAIN_TRAIN_LEARNING_RATE for train.learning_rate.
func envName(path string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// Variables lists the environment variables that have the prefix and are recognized.
func Variables() []string {
	list := slices.Clone(notConfiguration)
	for _, k := range Keys() {
		list = append(list, envName(k.Path))
	}
	return list
}

// Source specifies where a configuration comes from, in addition to the environment.
type Source struct {
	File     string   // a YAML file, or "" for none
	Text     []byte   // content of File; if nil, File is read
	Sets     []string // key.path=value, as in --set
	Flags    []Flag   // highest priority
	Defaults []string // like Sets, but with the lowest priority
	// Uses limits validation to the keys that a command uses; nil validates all keys.
	Uses func(key string) bool
}

// Flag is a command-line flag that sets a key.
type Flag struct{ Name, Key, Value string }

// InSection returns a [Source.Uses] for the keys in a section.
func InSection(section string) func(key string) bool {
	return func(key string) bool { return strings.HasPrefix(key, section+".") }
}

// layerValue is a value as passed through viper: a node, so that it keeps its type, and its origin. Viper's own decoding
// would convert map keys to lower case and truncate 1.5 to 1.
type layerValue struct {
	node   *yaml.Node
	origin string
}

// Load reads the configuration: defaults, overridden by the file, then by the environment, then by --set. It reports
// all faults at once, both syntactic and semantic.
func Load(src Source) (*recipe.Config, error) {
	var faults fault.List
	s, v, sections := newSchema(), viper.New(), map[string]bool{}
	if src.File != "" || src.Text != nil {
		f := s.readSource(src, &faults)
		if f.nodes == nil {
			return nil, faults.Err()
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
		if src.Uses != nil && !src.Uses(f.Path) || explained(form, f) {
			continue
		}
		origin, ok := origins[withoutIndex(f.Path)]
		if !ok {
			origin = src.File
		}
		f.Origin = origin
		faults = append(faults, f)
	}
	return c, faults.Err()
}

// explained reports whether a semantic fault follows from the syntactic ones: it belongs to, or mentions, a key that
// could not be read.
func explained(syntactic fault.List, meaning fault.Fault) bool {
	return slices.ContainsFunc(syntactic, func(f fault.Fault) bool {
		key := withoutIndex(f.Path)
		return key != "" && (withoutIndex(meaning.Path) == key || strings.HasPrefix(meaning.Path, key+".") ||
			strings.Contains(key, ".") && strings.Contains(meaning.Problem, key))
	})
}

// withoutIndex returns the key in a path such as train.trainable[1].
func withoutIndex(path string) string {
	key, _, _ := strings.Cut(path, "[")
	return key
}

// fill sets the given values and returns the origin of each.
func (s schema) fill(c *recipe.Config, v *viper.Viper, faults *fault.List) (origins map[string]string) {
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
			faults.IncludeFrom(g.origin, k.Path, err)
			continue
		}
		if k.namesFiles {
			expandPaths(fresh)
		}
		k.Place.Set(fresh)
	}
	return origins
}

// expandPaths expands ~ and variables in the paths in a value.
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

// put stores a value in nested maps by its path.
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

// bindEnvironment binds each key to its variable. A variable that has the prefix but matches no key is a fault.
func (s schema) bindEnvironment(v *viper.Viper, sections map[string]bool, faults *fault.List) {
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
		faults.AddFrom("environment", name, "does not correspond to a configuration key%s", spelling.DidYouMean(name, slices.Sorted(maps.Keys(paths))))
	}
}

// get returns the value of a key with the highest priority. Its node is nil if no value was given.
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

// applySets applies the values of --set, of flags, and of defaults.
func (s schema) applySets(v *viper.Viper, src Source, sections map[string]bool, faults *fault.List) {
	apply := func(origin, set string, put func(string, any)) {
		path, text, ok := strings.Cut(set, "=")
		if !ok {
			faults.AddFrom(origin, "", "want key.path=value")
			return
		}
		if slices.Contains(optionalSections, path) && slices.Contains([]string{"", "{}", "null"}, text) {
			sections[path] = text != "null"
			return
		}
		path, node, err := s.assign(v, path, text)
		if err != nil {
			faults.AddFrom(origin, "", "%v", err)
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

// assign returns the key that path=text sets, and its value. A path may also refer to an entry of a map, as in
// lora.rank_pattern.x_proj=16. The entry's name is then everything after the key, including dots.
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

// withEntry returns a copy of m with an entry replaced or added. m may be nil.
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

// markPresent marks the section of a key as present.
func markPresent(sections map[string]bool, path string) {
	if section, _, nested := strings.Cut(path, "."); nested {
		sections[section] = true
	}
}

// parse parses the text of a value for a key. The text is used literally if the value is a string, or if it has a short
// form and the text does not start like a list or a map: a path may start with a star, which is an alias in YAML. Any other
// text is parsed as YAML.
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
	if doc.Kind == 0 { // only white space
		return textNode(""), nil
	}
	return resolve(doc.Content[0]), nil
}
