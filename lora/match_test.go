package lora_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mambatrain/lora"
	"mambatrain/mamba"
)

// TestTargets checks that names select the same modules as in PEFT.
func TestTargets(t *testing.T) {
	names := func(n ...string) lora.Targets { return lora.Targets{Names: n} }
	regex := func(p string) lora.Targets { return lora.Targets{Pattern: p} }
	l := func(layer, name string) string { return "backbone.layers." + layer + ".mixer." + name }
	for _, c := range []struct {
		targets, exclude lora.Targets
		layers           lora.Layers
		want             []string // paths in a model with two layers; or ! and a substring of the error
	}{
		{targets: names("x_proj"), want: []string{l("0", "x_proj"), l("1", "x_proj")}},
		{targets: names("proj"), want: []string{`!"proj" matches no module`}},
		{targets: names("proj", "x_proj", "poj"), want: []string{`!"proj", "poj" match no module`}},
		{targets: regex("(["), want: []string{"!error parsing regexp: unterminated [] set in `([`"}},
		{targets: names("mixer.x_proj", l("1", "in_proj")), want: []string{l("0", "x_proj"), l("1", "in_proj"), l("1", "x_proj")}},
		{targets: names("embeddings", "lm_head"), want: []string{"backbone.embeddings", "lm_head"}},
		{targets: names("x_proj"), layers: lora.Layers{1}, want: []string{l("1", "x_proj")}},
		{targets: names("x_proj", "embeddings"), layers: lora.Layers{1}, want: []string{`!"embeddings" matches no module under layers_to_transform [1]`}},
		{targets: names("x_proj"), layers: lora.Layers{2}, want: []string{`!"x_proj" matches no module under layers_to_transform [2]`}},
		{targets: regex("all-linear"), exclude: names("in_proj", "dt_proj", "out_proj"), want: []string{l("0", "x_proj"), l("1", "x_proj")}},
		{targets: regex("ALL-LINEAR"), exclude: regex(`.*\.0\..*|.*(in|out)_proj`), want: []string{l("1", "x_proj"), l("1", "dt_proj")}},
		{targets: regex("all-linear"), exclude: regex(`.*`), want: []string{`!"all-linear" matches no module under exclude_modules .*`}},
		{targets: regex(`.*\.(x|dt)_proj`), want: []string{l("0", "x_proj"), l("0", "dt_proj"), l("1", "x_proj"), l("1", "dt_proj")}},
		{targets: regex(`(?!.*layers\.0).*\.x_proj`), want: []string{l("1", "x_proj")}},
		{targets: regex(`x_proj`), want: []string{`!"x_proj" matches no module`}},
		{targets: names("x_proj.dt", "x_proj.B"), exclude: names("layers.0.mixer.x_proj"), want: []string{l("1", "x_proj")}},
		{targets: names("x_proj.dt", "x_proj.C"), want: []string{"!dt and C are not adjacent"}},
		{targets: names("in_proj", "in_proj.x"), want: []string{`!"in_proj.x" is part of backbone.layers.0.mixer.in_proj, which gets an adapter as a whole`}},
		{targets: regex("auto"), exclude: names("layers.0.mixer.in_proj", "layers.0.mixer.x_proj"), want: []string{"backbone.embeddings", l("0", "out_proj"), l("1", "in_proj"), l("1", "x_proj"), l("1", "out_proj")}},
		{targets: regex("auto"), layers: lora.Layers{1}, want: []string{l("1", "in_proj"), l("1", "x_proj"), l("1", "out_proj")}},
		{targets: regex("auto"), exclude: regex(`.*`), want: []string{`!"auto" matches no module under exclude_modules .*`}},
		{targets: names("in_proj"), exclude: names("in_proj.z"), want: []string{l("0", "in_proj"), l("1", "in_proj")}},
		{targets: names("x_proj"), exclude: names("x_proj.B"), want: []string{"!dt and C are not adjacent"}},
		{targets: names("x_proj"), exclude: names("norm_f", "conv1d"), want: []string{l("0", "x_proj"), l("1", "x_proj")}},
		{targets: names("x_proj"), exclude: names("in_proj", "x_porj"), want: []string{`!exclude_modules: "x_porj" matches no module; the model has`}},
		{targets: names("x_proj"), exclude: regex("in_proj"), want: []string{`!exclude_modules: "in_proj" matches no module`}},
		{targets: names("x_proj"), layers: lora.Layers{0, 99}, want: []string{"!layers_to_transform: there is no layer 99; the layers are numbered from 0 to 1"}},
		{targets: lora.Targets{Names: []string{"in_proj"}, Pattern: "auto"}, want: []string{"!is auto and a list of names; choose one"}},
	} {
		m := tiny(t, rand.New(rand.NewPCG(1, 1)))
		config := lora.Default()
		config.TargetModules, config.ExcludeModules, config.LayersToTransform = c.targets, c.exclude, c.layers
		_, err := lora.Inject(m, config, rand.New(rand.NewPCG(1, 1)))
		if part, fails := strings.CutPrefix(c.want[0], "!"); fails {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%v without %v: got error %v, want one with %s", c.targets, c.exclude, err, part)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v without %v: %v", c.targets, c.exclude, err)
			continue
		}
		var got []string
		for _, s := range m.Slots() {
			if s.LowRank() != nil {
				got = append(got, s.Path)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v without %v: got %v, want %v", c.targets, c.exclude, got, c.want)
		}
	}
}

// TestRowGroups adapts parts of a projection. Adjacent parts, and all of them together, share one adapter, which loads
// as it was saved.
func TestRowGroups(t *testing.T) {
	for _, c := range []struct {
		names    []string
		from, to int // in units of r, n: see below
	}{
		{[]string{"x_proj.dt"}, 0, 1}, {[]string{"x_proj.B"}, 1, 2}, {[]string{"x_proj.C", "x_proj.B"}, 1, 3}, {[]string{"x_proj.dt", "x_proj.B", "x_proj.C"}, 0, 3},
	} {
		random := rand.New(rand.NewPCG(2, 1))
		m := tiny(t, random)
		r, n := m.Config.TimeStepRank, m.Config.StateSize
		bounds := []int{0, r, r + n, r + 2*n}
		config := lora.Default()
		config.TargetModules, config.UseDora = lora.Targets{Names: c.names}, len(c.names)%2 == 1
		config.RankPattern = lora.Pattern[int]{{Key: `x_proj\.(dt|B|C)`, Value: 4}}
		a, err := lora.Inject(m, config, random)
		if err != nil {
			t.Fatal(err)
		}
		l := m.Layers[0].Mixer.(*mamba.Mamba1).XProj.LowRank
		if l.From != bounds[c.from] || l.To != bounds[c.to] || l.Rank() != 4 {
			t.Errorf("%v: rows %d to %d of rank %d, want %d to %d of rank 4", c.names, l.From, l.To, l.Rank(), bounds[c.from], bounds[c.to])
		}
		stir(a, random)
		ids, dir := probe(m, random), t.TempDir()
		want := directLogits(t, m, ids)
		if err := a.Save(dir, lora.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		a.Disable()
		again, err := lora.Load(dir, m)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "loaded adapter", directLogits(t, m, ids), want, 0, 0)
		if faults := config.Differences(again.Config); len(faults) > 0 {
			t.Errorf("%v: cannot be continued with the same settings: %v", c.names, faults)
		}
	}
}

// TestPatterns checks that the first matching pattern sets the rank and alpha, and that a key matches the end of a
// path.
func TestPatterns(t *testing.T) {
	m := tiny(t, rand.New(rand.NewPCG(3, 1)))
	c := lora.Default()
	c.RankPattern = lora.Pattern[int]{{Key: `layers\.0\.mixer\.in_proj`, Value: 2}, {Key: "in_proj", Value: 3}}
	c.AlphaPattern = lora.Pattern[float64]{{Key: "(x|out)_proj", Value: 32}, {Key: "x_proj", Value: 1}}
	if _, err := lora.Inject(m, c, rand.New(rand.NewPCG(1, 1))); err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct {
		layer int
		end   string
		rank  int
		scale float64
	}{{0, "in_proj", 2, 4}, {1, "in_proj", 3, 8. / 3}, {0, "x_proj", 8, 4}, {1, "out_proj", 8, 4}} {
		a := map[string]int{"in_proj": 1, "x_proj": 2, "out_proj": 4}[w.end] + 4*w.layer
		if got := m.Slots()[a].LowRank(); got.Rank() != w.rank || got.Scale != w.scale {
			t.Errorf("%s: rank %d, scale %v, want %d and %v", m.Slots()[a].Path, got.Rank(), got.Scale, w.rank, w.scale)
		}
	}
	c.RankPattern = append(c.RankPattern, lora.PatternEntry[int]{Key: "n_proj", Value: 5})
	c.AlphaPattern = lora.Pattern[float64]{{Key: "(?=x)x_porj", Value: 1}, {Key: "x_proj.dt", Value: 1}}
	_, err := lora.Inject(tiny(t, rand.New(rand.NewPCG(3, 1))), c, rand.New(rand.NewPCG(1, 1)))
	for _, want := range []string{`rank_pattern: "n_proj" matches no module; the model has`, `alpha_pattern: "(?=x)x_porj" matches no module`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %s", err, want)
		}
	}
}

// TestInBothLists checks that a module cannot get an adapter and be trained in full, even if it is a tied head.
func TestInBothLists(t *testing.T) {
	for _, name := range []string{"lm_head", "embeddings"} {
		m, c := model(t, "base"), lora.Default()
		c.TargetModules, c.ModulesToSave = lora.Targets{Names: []string{"in_proj", name}}, []string{name}
		_, err := lora.Inject(m, c, rand.New(rand.NewPCG(1, 1)))
		if want := name + ": would both get an adapter and be trained in full"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %s", err, want)
		}
		if !m.Tied() {
			t.Error("the head was untied")
		}
	}
}

func TestParseTargets(t *testing.T) {
	for text, want := range map[string]lora.Targets{
		"in_proj":                          {Names: []string{"in_proj"}},
		"mixer.in_proj":                    {Names: []string{"mixer.in_proj"}},
		"in_proj, out_proj":                {Names: []string{"in_proj", "out_proj"}},
		"in_proj out_proj":                 {Names: []string{"in_proj", "out_proj"}},
		"all-linear":                       {Pattern: "all-linear"},
		" ALL_LINEAR":                      {Pattern: "all-linear"},
		`.*\.in_proj`:                      {Pattern: `.*\.in_proj`},
		`backbone\.layers\.[0-3]\.mixer.*`: {Pattern: `backbone\.layers\.[0-3]\.mixer.*`},
		"(in|out)_proj":                    {Pattern: "(in|out)_proj"},
		"a..b":                             {Pattern: "a..b"},
		"":                                 {},
	} {
		if got := lora.ParseTargets(text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	}
}
