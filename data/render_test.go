package data

import (
	"slices"
	"strings"
	"testing"

	"mambatrain/data/source"
	"mambatrain/internal/label"
	"mambatrain/internal/testfile"
)

func TestOpen_templates(t *testing.T) {
	path := testfile.Write(t, "quotes.jsonl", `{"quote":"Be brief.","author":"A. Nonymous","tags":["wit","style"],"year":1999}
{"quote":null,"author":null,"tags":null,"year":null}
{"quote":"Again.","author":null,"tags":[],"year":2000}
`)
	for template, want := range map[string][]string{
		`{{.quote}} — {{.author}}`:                                          {"Be brief. — A. Nonymous", "Again. — "},
		`{{.quote}}{{if .author}} ({{.author}}){{end}}`:                     {"Be brief. (A. Nonymous)", "Again."},
		`{{join .tags ", "}}: {{.quote}}`:                                   {"wit, style: Be brief.", ": Again."},
		`{{.quote}}{{range .tags}} #{{.}}{{end}}`:                           {"Be brief. #wit #style", "Again."},
		`{{upper .quote}} {{.year}}`:                                        {"BE BRIEF. 1999", "AGAIN. 2000"},
		`{{default "unknown" .author}}: {{.quote}}`:                         {"A. Nonymous: Be brief.", "unknown: Again."},
		`{{with .author}}{{$.quote}} {{.}}{{end}}`:                          {"Be brief. A. Nonymous"},
		`{{index . "quote"}} {{json .tags}}`:                                {`Be brief. ["wit","style"]`, "Again. []"},
		`{{define "x"}}<{{.}}>{{end}}{{template "x" .quote}}{{trim " z "}}`: {"<Be brief.>z", "<Again.>z"},
	} {
		o := Default()
		o.Template = template
		t.Run(template, func(t *testing.T) { checkTexts(t, texts(t, path, o), want...) })
	}
}

// Nulls within lists and objects print nothing, whole numbers are also floating-point numbers, and no mark of package
// fmt or text/template becomes part of a text.
func TestOpen_templateValues(t *testing.T) {
	path := testfile.Write(t, "rows.jsonl", `{"q":"x","tags":["a",null],"meta":{"author":null},"s":4,"t":"a<b && c","p":"5%","e":["%!d"]}`)
	for template, want := range map[string]string{
		`{{.q}} {{.meta.author}}.`:     "x .",
		`{{join .tags ", "}}.`:         "a, .",
		`{{range .tags}}{{.}};{{end}}`: "a;;",
		`{{.tags}}`:                    "[a ]",
		`{{with $x := .meta}}{{$y := .author}}{{$y}}.{{end}}`:                ".",
		`{{upper .meta.author}}{{print .meta.author}}{{html .meta.author}}.`: ".",
		`{{range .meta.author}}some{{else}}none{{end}}`:                      "none",
		`{{define "x"}}<{{.}}>{{end}}{{template "x" .meta.author}}`:          "<>",
		`{{printf "%s%.1f %d %v %5.2f%%!" .meta.author .s .s .s .s}}`:        "4.0 4 4  4.00%!",
		`{{printf "%s! %[1]s! %%! %v" .p .e}}`:                               "5%! 5%! %! [%!d]",
		`{{printf "%.1f %.1f" 3 (len .tags)}}`:                               "3.0 2.0",
		`{{json .meta}} {{json .t}}`:                                         `{"author":null} "a<b && c"`,
	} {
		o := Default()
		o.Template = template
		t.Run(template, func(t *testing.T) { checkTexts(t, texts(t, path, o), want) })
	}
	for _, template := range []string{`{{printf "%d" .q}}`, `{{printf "%s" .s}}`, `{{printf "%s%s" .q}}`, `{{printf "%s %d" .p .e}}`, `{{upper .s}}`} {
		o := Default()
		o.Template = template
		_, err := Open(t.Context(), []source.Input{{Path: path}}, tinyTokenizer(t), o)
		if err == nil || !strings.Contains(err.Error(), "line 1: data.template") {
			t.Errorf("%s: error %v", template, err)
		}
	}
}

func TestOpen_promptTemplates(t *testing.T) {
	path := testfile.Write(t, "rows.jsonl", `{"q":"What is a river?","a":"A road."}`)
	o := Default()
	o.Prompt, o.Completion = "Question: {{.q}}\nAnswer:", " {{.a}}"
	tok := tinyTokenizer(t)
	e := open(t, path, tok, o).Example(0)
	prompt := tok.Encode("Question: What is a river?\nAnswer:")
	for i, l := range e.Labels {
		if masked := i < len(prompt); masked != (l == label.Ignored) {
			t.Errorf("label %d is %d, the prompt has %d tokens", i, l, len(prompt))
		}
	}
	if got, want := tok.Decode(e.Tokens), "Question: What is a river?\nAnswer: A road.<|endoftext|>"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
}

func TestOpen_tokenIDs(t *testing.T) {
	path := testfile.Write(t, "ids.jsonl", `{"input_ids":[5,6,7,8],"labels":[-100,-100,7,8],"attention_mask":[0,1,1,1]}
{"input_ids":[1,2,3],"labels":null,"attention_mask":[1,1,0]}
{"input_ids":[1,2,3],"labels":[9,-100,-100]}
{"input_ids":[4],"attention_mask":[true]}
{"input_ids":[]}
`)
	_, err := Open(t.Context(), []source.Input{{Path: path}}, nil, Default())
	if err == nil || !strings.Contains(err.Error(), "line 4") {
		t.Errorf("a boolean as mask: %v", err)
	}
	path = testfile.Write(t, "ids.jsonl", `{"input_ids":[5,6,7,8],"labels":[-100,-100,7,8],"attention_mask":[0,1,1,1]}
{"input_ids":[1,2,3],"labels":null,"attention_mask":[1,1,0]}
{"input_ids":[1,2,3],"labels":[9,-100,-100]}
{"input_ids":[4],"attention_mask":[1]}
{"input_ids":[]}
`)
	d := open(t, path, nil, Default())
	want := []Example{
		{Tokens: []int{6, 7, 8}, Labels: []int{-100, 7, 8}, Row: 0},
		{Tokens: []int{1, 2}, Labels: []int{1, 2}, Row: 1, Place: 1},
	}
	if d.Len() != len(want) {
		t.Fatalf("%d documents, want %d", d.Len(), len(want))
	}
	for i, w := range want {
		if got := testfile.JSON(t, d.Example(i)); got != testfile.JSON(t, w) {
			t.Errorf("document %d: %s, want %s", i, got, testfile.JSON(t, w))
		}
	}
	if s := d.Stats(); s.NoLabels != 2 || s.Empty != 1 || s.Labels != 3 || s.MaxToken != 8 {
		t.Errorf("%+v, want 2 without labels, 1 empty, 3 labels, largest token 8", s)
	}
}

// TestLabels_negative checks that the loss ignores any negative label, as documented.
func TestLabels_negative(t *testing.T) {
	path := testfile.Write(t, "ids.jsonl", `{"input_ids":[1,2,3],"labels":[1,-1,3]}
{"input_ids":[1,2,3],"labels":[-1,-1,-1]}
{"input_ids":[1,2,3],"labels":[1,-1,-7]}
`)
	o := Default()
	o.Shuffle = false
	d := open(t, path, nil, o)
	if s := d.Stats(); s.Documents != 1 || s.NoLabels != 2 || s.Labels != 1 {
		t.Fatalf("%d documents, %d rows without labels, %d labels; want 1, 2, and 1", s.Documents, s.NoLabels, s.Labels)
	}
	r, err := d.Report(1, 0)
	if err != nil || r.EpochLabels != 1 {
		t.Errorf("an epoch has %d labels (%v), want 1", r.EpochLabels, err)
	}
	b := newLoader(t, d, 1, 0).At(0, 0)
	if b.Counted() != 1 {
		t.Errorf("the batch counts %d labels, want 1", b.Counted())
	}
	var counted []bool
	for _, s := range b.Segments(tinyTokenizer(t)) {
		counted = append(counted, s.Counted)
	}
	if want := []bool{false, true}; !slices.Equal(counted, want) {
		t.Errorf("segments that count: %v, want %v", counted, want)
	}
}

func TestOpen_truncationSplit(t *testing.T) {
	path := testfile.Write(t, "ids.jsonl", `{"input_ids":[1,2,3,4,5,6,7]}
{"input_ids":[8,9]}
`)
	o := Default()
	o.Truncation, o.MaxLength = "split", 3
	d := open(t, path, nil, o)
	// The last part is a single token, so it has nothing to predict.
	want := [][]int{{1, 2, 3}, {4, 5, 6}, {8, 9}}
	for i := range d.Len() {
		if got := testfile.JSON(t, d.Example(i).Tokens); i >= len(want) || got != testfile.JSON(t, want[i]) {
			t.Errorf("document %d: %s", i, got)
		}
	}
	if s := d.Stats(); d.Len() != 3 || s.Truncated != 1 || s.NoLabels != 1 || s.Rows != 2 {
		t.Errorf("%d documents, %+v", d.Len(), s)
	}
}

// A long document without counted labels is not trained on, even if its parts carry their state.
func TestOpen_carryStateWithoutLabels(t *testing.T) {
	path := testfile.Write(t, "ids.jsonl", `{"input_ids":[1,2,3,4,5],"labels":[-100,-100,-100,-100,-100]}
{"input_ids":[1,2,3,4,5],"labels":[-100,-100,-100,-100,5]}
`)
	o := Default()
	o.Truncation, o.MaxLength, o.CarryState = "split", 2, true
	if s := open(t, path, nil, o).Stats(); s.Documents != 3 || s.NoLabels != 1 {
		t.Errorf("%d documents, %d rows without labels, want 3 and 1", s.Documents, s.NoLabels)
	}
}

func TestConfig_faults(t *testing.T) {
	o := Config{Config: source.Config{Format: "xml", MaxTrainSamples: -2}, Truncation: "middle", MaxLength: -1, Prompt: "p", Template: "{{.x}}", Messages: "m", CarryState: true}
	err := o.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, key := range []string{"format", "truncation", "max_length", "template", "carry_state", "max_train_samples"} {
		if !strings.Contains(err.Error(), key+": ") {
			t.Errorf("no fault of %s in %q", key, err)
		}
	}
	alone := Default()
	alone.Prompt = "p"
	if err := alone.Validate(); err == nil || !strings.Contains(err.Error(), "completion: is required") {
		t.Errorf("a prompt alone: %v", err)
	}
	fine := Default()
	if err := fine.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
