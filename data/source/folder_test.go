package source

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// zipped compresses a text.
func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(text))
	z.Close()
	return b.String()
}

// arrowStream returns an Arrow stream with a text column, as written by the datasets library.
func arrowStream(texts ...string) string {
	schema := arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).AppendValues(texts, nil)
	record := b.NewRecord()
	defer record.Release()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if err := w.Write(record); err != nil {
		panic(err)
	}
	w.Close()
	return out.String()
}

// row returns a line of JSON with a text.
func row(text string) string { return `{"text":"` + text + "\"}\n" }

// folder writes files, keyed by path, into a new directory.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// read returns the texts at a path, the warnings, and the error.
func read(t testing.TB, path string, c Config) (texts []string, warnings string, err error) {
	t.Helper()
	c.Warn = func(err error) { warnings += err.Error() + "\n" }
	for row, err := range Rows(t.Context(), []Input{{Path: path}}, c) {
		if err != nil {
			return texts, warnings, err
		}
		if s, ok := row["text"].(string); ok {
			texts = append(texts, s)
		}
	}
	return texts, warnings, nil
}

// The expected values are those of the datasets library 5.2, if it can read the folder.
func TestFolders(t *testing.T) {
	card := func(config string) string {
		return "---\nlicense: mit\nconfigs:\n- config_name: default\n  " + config + "\n---\n# Data\n"
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		path  string // below the folder, or a split after ":"
		want  string // texts, or an error after "!"
		warn  string
	}{
		{"a license is never data", map[string]string{"data.json": `[{"text":"a"},{"text":"b"}]`, "LICENSE.txt": "You may."}, "", "a|b", ""},
		{"nor are several", map[string]string{"t.csv": "text\na\n", "LICENSE.txt": "x", "NOTICE.txt": "y", "readme.txt": "z"}, "", "a", ""},
		{"nor among texts", map[string]string{"a.txt": "a", "licence-mit.txt": "You may.", "mit_license.txt": "x", "THIRD-PARTY-NOTICES.txt": "y"}, "", "a", "licence-mit.txt"},
		{"nor alone", map[string]string{"LICENSE.txt": "x"}, "", "!no data files among LICENSE.txt", ""},
		{"nor by a pattern", map[string]string{"LICENSE.txt": "x", "a.log": "y"}, "/*.txt", "!no data files among", ""},
		{"one kind in several endings", map[string]string{"a.jsonl": row("a"), "b.ndjson": row("b"), "c.jsonl.gz": zipped(row("c")), "d.json": row("d")}, "", "a|b|c|d", ""},
		{"most files", map[string]string{"a.jsonl": row("a"), "b.csv": "text\nb\n", "c.csv": "text\nc\n", "d.txt": "d"}, "", "b|c", "a.jsonl, d.txt"},
		{"a draw", map[string]string{"a.jsonl": row("a"), "b.csv": "text\nb\n", "c.txt": "c"}, "", "a", "b.csv, c.txt"},
		{"a draw of others", map[string]string{"a.tsv": "text\na\n", "b.txt": "b"}, "", "b", "a.tsv"},
		{"zipped texts", map[string]string{"a.txt.gz": zipped("a\nb\n")}, "", "a|b", ""},
		{"zipped JSON", map[string]string{"a.json.gz": zipped(`[{"text":"a"}]`)}, "", "a", ""},
		{"zipped tabs", map[string]string{"a.tsv.gz": zipped("text\tx\na\t1\n")}, "", "a", ""},
		{"documentation, if nothing else is there", map[string]string{"a.md": "a", "README.md": "# b"}, "", "a", ""},
		{"documentation next to data", map[string]string{"a.md": "a", "b.md": "b", "c.csv": "text\nc\n"}, "", "c", "a.md, b.md"},
		{"other texts", map[string]string{"a.text": "a"}, "", "a", ""},
		{"other Arrow files", map[string]string{"a.feather": arrowStream("a"), "b.ipc": arrowStream("b")}, "", "a|b", ""},
		{"capitals", map[string]string{"A.JSONL": row("a")}, "", "a", ""},
		{"what is hidden", map[string]string{"a.jsonl": row("a"), ".b.jsonl": row("b"), ".c/d.jsonl": row("d"), "__e/f.jsonl": row("f")}, "", "a", ""},

		{"a saved dataset", map[string]string{
			"data-00000-of-00001.arrow": arrowStream("a", "b"), "cache-66005f5b7c7f25f0.arrow": arrowStream("no"), "data-00001-of-00002.arrow": arrowStream("old"),
			"dataset_info.json": "{}", "state.json": `{"_data_files":[{"filename":"data-00000-of-00001.arrow"}],"_split":null}`,
		}, "", "a|b", ""},
		{"saved splits", map[string]string{
			"dataset_dict.json": `{"splits":["train","test"]}`, "train/data-00000-of-00001.arrow": arrowStream("a"), "test/data-00000-of-00001.arrow": arrowStream("b"),
			"train/state.json": `{"_data_files":[{"filename":"data-00000-of-00001.arrow"}]}`, "test/state.json": `{"_data_files":[{"filename":"data-00000-of-00001.arrow"}]}`,
		}, ":test", "b", ""},
		{"a saved dataset in a folder", map[string]string{
			"x/data-00000-of-00001.arrow": arrowStream("a"), "x/data-00007-of-00008.arrow": arrowStream("old"),
			"x/state.json": `{"_data_files":[{"filename":"data-00000-of-00001.arrow"}]}`,
		}, "", "a", ""},
		{"caches without state.json", map[string]string{"a.arrow": arrowStream("a"), "cache-66005f5b7c7f25f0.arrow": arrowStream("no"), "cache-66005f5b7c7f25f0_00001_of_00002.arrow": arrowStream("no")}, "", "a", ""},
		{"a saved file that is gone", map[string]string{"state.json": `{"_data_files":[{"filename":"a.arrow"}]}`}, "", "!a.arrow", ""},
		{"a saved file elsewhere", map[string]string{"state.json": `{"_data_files":[{"filename":"../a.arrow"}]}`}, "", "!not a file in the folder", ""},

		{"a card", map[string]string{"README.md": card("data_files: a/*.jsonl"), "a/x.jsonl": row("a"), "b/y.jsonl": row("b")}, "", "a", ""},
		{"a card with CRLF", map[string]string{"README.md": strings.ReplaceAll(card("data_files: a/*.jsonl"), "\n", "\r\n"), "a/x.jsonl": row("a"), "b/y.jsonl": row("b")}, "", "a", ""},
		{"a card with a mark", map[string]string{"README.md": "\xEF\xBB\xBF" + card("data_files: a/*.jsonl"), "a/x.jsonl": row("a"), "b/y.jsonl": row("b")}, "", "a", ""},
		{"a card's folder", map[string]string{"README.md": card("data_dir: b"), "a/x.jsonl": row("a"), "b/y.jsonl": row("b")}, "", "b", ""},
		{"a card's folder and files", map[string]string{"README.md": card("data_dir: b/\n  data_files: \"*.jsonl\""), "x.jsonl": row("a"), "b/y.jsonl": row("b")}, "", "b", ""},
		{"splits in a card's folder", map[string]string{"README.md": card("data_dir: test"), "test/train.jsonl": row("a"), "test/dev.jsonl": row("b")}, "", "a", ""},
		{"a card's CSV", map[string]string{"README.md": card("data_files: t.csv"), "t.csv": "text\na\n", "other.jsonl": row("b")}, "", "a", ""},
		{"a card's list", map[string]string{"README.md": card("data_files: [b.jsonl, ./a.jsonl]"), "a.jsonl": row("a"), "b.jsonl": row("b"), "c.jsonl": row("c")}, "", "b|a", ""},
		{"a card's splits", map[string]string{"README.md": card("data_files:\n  - split: train\n    path: [a.jsonl]\n  - split: test\n    path: \"t*\""), "a.jsonl": row("a"), "t.jsonl": row("t")}, ":test", "t", ""},
		{"a card's file twice", map[string]string{"README.md": card("data_files: [a.jsonl, \"*.jsonl\"]"), "a.jsonl": row("a"), "b.jsonl": row("b")}, "", "a|a|b", ""},
		{"a card's hidden folder", map[string]string{"README.md": card("data_files: \".h/*\""), ".h/a.jsonl": row("a"), "b.jsonl": row("b")}, "", "a", ""},
		{"a card's separator", map[string]string{"README.md": card("data_files: t.csv\n  sep: \"|\""), "t.csv": "text|x\na|1,2\n"}, "", "a", ""},
		{"a card's encoding", map[string]string{"README.md": card("data_files: t.csv\n  encoding: latin1"), "t.csv": "text\ncaf\xE9\n"}, "", "café", ""},
		{"a card's documents", map[string]string{"README.md": card("data_files: t.txt\n  sample_by: document"), "t.txt": "a\nb\n\nc"}, "", "a\nb\n\nc", ""},
		{"a card that names nothing", map[string]string{"README.md": card("data_files: none.jsonl"), "a.jsonl": row("a")}, "", "!none.jsonl", ""},
		{"a card whose reader is another", map[string]string{"README.md": card("data_files: a.json\n  field: data"), "a.json": row("a")}, "", "!sets field", ""},
		{"a damaged card", map[string]string{"README.md": "---\nconfigs:\n- {\n---\n", "a.jsonl": row("a")}, "", "!README.md", ""},
		{"rules in a text", map[string]string{"README.md": "---\nHello: you: there\n---\n", "a.jsonl": row("a")}, "", "a", ""},
		{"another card", map[string]string{".huggingface.yaml": "configs:\n- {config_name: x, data_files: b.jsonl}\n", "a.jsonl": row("a"), "b.jsonl": row("b")}, "", "b", ""},
		{"two defaults", map[string]string{"README.md": "---\nconfigs:\n- {config_name: default, data_files: a.jsonl}\n- {config_name: b, default: true, data_files: b.jsonl}\n---\n", "a.jsonl": row("a")}, "", "!default and b", ""},

		{"splits by folder", map[string]string{"train/a.jsonl": row("a"), "test/b.jsonl": row("b"), "c.jsonl": row("c"), "sub/my-train/d.jsonl": row("d"), "train_2/e.jsonl": row("e")}, "", "a|e|d", ""},
		{"splits by name", map[string]string{"x-train.jsonl": row("x"), "train-1.jsonl": row("1"), "latest.jsonl": row("l"), "test.jsonl": row("t")}, "", "1|x", ""},
		{"a split by its word", map[string]string{"train.jsonl": row("a"), "dev.jsonl": row("b")}, ":validation", "b", ""},
		{"shards", map[string]string{"data/forget-00000-of-00001.jsonl": row("f"), "data/train-00000-of-00001.jsonl": row("a"), "data/extra.jsonl": row("e"), "train/x.jsonl": row("x")}, "", "a", ""},
		{"a separate split", map[string]string{"data/forget-00000-of-00001.jsonl": row("f"), "data/train-00000-of-00001.jsonl": row("a")}, ":forget", "f", ""},
		{"the only split", map[string]string{"test.jsonl": row("a")}, "", "a", ""},
		{"no split to train on", map[string]string{"test.jsonl": row("a"), "dev.jsonl": row("b")}, "", "!no split train: choose one of validation, test, as in path:test", ""},
		{"no such split", map[string]string{"train.jsonl": row("a")}, ":tset", "!no split tset", ""},

		{"a pattern at any depth", map[string]string{"a.jsonl": row("a"), "x/b.jsonl": row("b"), "x/y/c.jsonl": row("c"), "x/.h/d.jsonl": row("d")}, "/**/*.jsonl", "a|b|c", ""},
		{"a pattern in the middle", map[string]string{"x/y/en/a.jsonl": row("a"), "x/de/b.jsonl": row("b"), "en/c.jsonl": row("c")}, "/**/en/*", "c|a", ""},
		{"a pattern that ends in **", map[string]string{"x/a.jsonl": row("a"), "x/y/b.jsonl": row("b"), "c.jsonl": row("c")}, "/x/**", "a|b", ""},
		{"a pattern for folders", map[string]string{"x/a.jsonl": row("a"), "y/b.jsonl": row("b")}, "/?/[!x].jsonl", "a|b", ""},
		{"a pattern of mixed kinds", map[string]string{"a.jsonl": row("a"), "b.jsonl": row("b"), "README.md": "# x", "LICENSE.txt": "y", "config.json": "{}"}, "/*", "a|b", "config.json"},
		{"a pattern for licenses", map[string]string{"LICENSE.txt": "y"}, "/LICENSE*", "y", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, warnings, err := read(t, folder(t, c.files)+c.path, Config{})
			if problem, ok := strings.CutPrefix(c.want, "!"); ok {
				if err == nil || !strings.Contains(err.Error(), problem) {
					t.Fatalf("%q, error %v, want one with %q", got, err, problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkTexts(t, got, strings.Split(c.want, "|")...)
			if !strings.Contains(warnings, c.warn) || c.warn == "" && warnings != "" {
				t.Errorf("warnings %q, want some with %q", warnings, c.warn)
			}
		})
	}
}

// A link to a folder is that folder. Inside it, links to files are followed but links to folders are not, as in the
// datasets library.
func TestFolders_links(t *testing.T) {
	real := folder(t, map[string]string{"a.jsonl": row("a"), "sub/b.jsonl": row("b")})
	dir := t.TempDir()
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Skip(err)
		}
	}
	link(real, "link")
	got, _, err := read(t, filepath.Join(dir, "link"), Config{})
	if err != nil {
		t.Fatal(err)
	}
	checkTexts(t, got, "a", "b")
	got, _, err = read(t, filepath.Join(dir, "link", "**", "*.jsonl"), Config{})
	if err != nil {
		t.Fatal(err)
	}
	checkTexts(t, got, "a", "b")
	link("nowhere", "astray")
	if _, _, err := read(t, filepath.Join(dir, "astray"), Config{}); err == nil || !strings.Contains(err.Error(), "astray: no such file") {
		t.Errorf("a dangling link: %v", err)
	}
	link(filepath.Join(real, "a.jsonl"), "c.jsonl")
	link(dir, "circle")
	got, _, err = read(t, dir, Config{})
	if err != nil {
		t.Fatal(err)
	}
	checkTexts(t, got, "a")
	got, _, err = read(t, filepath.Join(dir, "*", "a.jsonl"), Config{}) // a component that matches the link
	if err != nil {
		t.Fatal(err)
	}
	checkTexts(t, got, "a")
}

func TestFolders_format(t *testing.T) {
	dir := folder(t, map[string]string{"a.jsonl": row("a"), "b.csv": "text\nb\n", "c.log": "c\n", "d.txt": "d", "LICENSE.txt": "x", "NOTICE": "y"})
	for format, want := range map[string]string{"csv": "b", "jsonl": "a", "json": "a", "text": "d", "text:file": "d"} {
		got, _, err := read(t, dir, Config{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		checkTexts(t, got, want)
	}
	got, _, err := read(t, filepath.Join(dir, "*.log"), Config{Format: "text:line"})
	if err != nil {
		t.Fatal(err)
	}
	checkTexts(t, got, "c")
	got, _, err = read(t, filepath.Join(dir, "[LNcd]*"), Config{Format: "text:line"})
	if err != nil {
		t.Fatal(err)
	}
	checkTexts(t, got, "c", "d")
}

func TestChoose(t *testing.T) {
	readme := "---\nconfigs:\n- config_name: en\n  data_files:\n  - split: train\n    path: en/a-*\n  - split: test\n    path: [\"en/b.parquet\"]\n- config_name: de\n  default: true\n  data_files: \"de/**/*.parquet\"\n---\n"
	names := []string{"README.md", "en/a-1.parquet", "en/a-2.parquet", "en/b.parquet", "de/x/y.parquet"}
	for _, c := range []struct {
		readme  string
		names   []string
		request splitRequest
		want    []string
	}{
		{"", []string{"a.jsonl", "b.jsonl", "x.txt"}, splitRequest{}, []string{"a.jsonl", "b.jsonl"}},
		{"", []string{"train.csv", "test.csv"}, splitRequest{}, []string{"train.csv"}},
		{"", []string{"default/train/0000.parquet", "default/test/0000.parquet"}, splitRequest{config: "default", split: "test"}, []string{"default/test/0000.parquet"}},
		{"", []string{"default/partial-train/0000.parquet"}, splitRequest{config: "default", split: "train"}, []string{"default/partial-train/0000.parquet"}},
		{"", []string{"en/train.csv", "de/train.csv"}, splitRequest{config: "de"}, []string{"de/train.csv"}},
		{readme, names, splitRequest{}, []string{"de/x/y.parquet"}},
		{readme, names, splitRequest{config: "en", split: "train"}, []string{"en/a-1.parquet", "en/a-2.parquet"}},
		{readme, names, splitRequest{config: "en", split: "test"}, []string{"en/b.parquet"}},
		{readme, names, splitRequest{config: "fr"}, nil},
		{"", []string{"train.csv"}, splitRequest{split: "test"}, nil},
	} {
		parsed, err := parseCard(c.readme)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.request.choose(c.names, parsed, "auto")
		if !slices.Equal(got.files, c.want) || (err != nil) != (c.want == nil) {
			t.Errorf("%+v of %v: %v, %v, want %v", c.request, c.names, got.files, err, c.want)
		}
	}
}
