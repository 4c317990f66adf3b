package source

import (
	"slices"
	"testing"
)

func TestChooseSplit(t *testing.T) {
	card := "---\nconfigs:\n- config_name: en\n  data_files:\n  - split: train\n    path: en/a-*\n  - split: test\n    path: [\"en/b.parquet\"]\n- config_name: de\n  default: true\n  data_files: \"de/**/*.parquet\"\n---\n"
	names := []string{"README.md", "en/a-1.parquet", "en/a-2.parquet", "en/b.parquet", "de/x/y.parquet"}
	for _, c := range []struct {
		readme  string
		names   []string
		request splitRequest
		want    []string
	}{
		{"", []string{"b.jsonl", "a.jsonl", "x.txt"}, splitRequest{}, []string{"a.jsonl", "b.jsonl"}},
		{"", []string{"train.csv", "test.csv"}, splitRequest{}, []string{"train.csv"}},
		{"", []string{"train.csv", "dev.csv"}, splitRequest{split: "validation"}, []string{"dev.csv"}},
		{"", []string{"default/train/0000.parquet", "default/test/0000.parquet"}, splitRequest{config: "default", split: "test"}, []string{"default/test/0000.parquet"}},
		{"", []string{"en/train.csv", "de/train.csv"}, splitRequest{config: "de"}, []string{"de/train.csv"}},
		{card, names, splitRequest{}, []string{"de/x/y.parquet"}},
		{card, names, splitRequest{config: "en", split: "train"}, []string{"en/a-1.parquet", "en/a-2.parquet"}},
		{card, names, splitRequest{config: "en", split: "test"}, []string{"en/b.parquet"}},
		{card, names, splitRequest{config: "fr"}, nil},
		{"", []string{"train.csv"}, splitRequest{split: "test"}, nil},
	} {
		got, err := c.request.choose(c.names, c.readme)
		if !slices.Equal(got, c.want) || (err != nil) != (c.want == nil) {
			t.Errorf("%+v of %v: %v, %v, want %v", c.request, c.names, got, err, c.want)
		}
	}
}
