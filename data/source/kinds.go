package source

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"
)

// kindOf maps file name endings to the kind of data. Endings of the same kind are read together, such as .jsonl and .ndjson.
var kindOf = map[string]string{
	".parquet": "parquet", ".geoparquet": "parquet", ".gpq": "parquet",
	".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow",
	".json": "json", ".jsonl": "json", ".ndjson": "json",
	".csv": "csv", ".tsv": "csv",
	".txt": "text", ".text": "text",
	".md": documentation,
}

// documentation is the kind of files that are data only if there is nothing else.
const documentation = "markdown"

// endings lists the endings of data files, most common first.
func endings() []string {
	return append(slices.Clone(preferredEndings), ".ndjson", ".tsv", ".txt", ".text", ".feather", ".ipc", ".md")
}

// preferredEndings win ties, in this order. Among other endings, the last one alphabetically wins.
var preferredEndings = []string{".parquet", ".arrow", ".jsonl", ".json", ".csv"}

// compressions are the endings of compressed files.
var compressions = []string{".gz", ".bz2", ".zst", ".lz4", ".xz", ".zip"}

// endingOf returns the ending of a name that determines its kind, in lower case and without the ending for compression.
func endingOf(name string) string {
	name = strings.ToLower(path.Base(name))
	if ending := path.Ext(name); slices.Contains(compressions, ending) {
		name = strings.TrimSuffix(name, ending)
	}
	return path.Ext(name)
}

// isData reports whether a name belongs to a data file.
func isData(name string) bool { return kindOf[endingOf(name)] != "" && !isBookkeeping(name) }

// bookkeeping are files that accompany data and models.
var bookkeeping = []string{
	"readme.md", "config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "dummy_data.zip",
	"tokenizer.json", "tokenizer_config.json", "requirements.txt",
}

// cachedMap matches files next to the data in which the datasets library caches the results of map.
var cachedMap = regexp.MustCompile(`^cache-[0-9a-f]{16}(_\d+_of_\d+)?\.arrow$`)

func isBookkeeping(name string) bool {
	base := path.Base(name)
	return slices.Contains(bookkeeping, strings.ToLower(base)) || cachedMap.MatchString(base)
}

// aboutDataName matches the names of texts about a dataset, such as licenses.
var aboutDataName = regexp.MustCompile(`(?i)^(un)?((third[-_ ]?party|mit|bsd|apache|[al]?gpl|mpl|cc|data|dataset)[-_ ])?` +
	`(licen[cs](e|es|ing)|copying|copyright|notices?|eula|readme|changelog|contributing|contributors|maintainers|code[-_ ]of[-_ ]conduct|citation|authors)([-_. ].*)?$`)

// isAboutData reports whether a file is a text about the data, which is not meant for training.
func isAboutData(name string) bool {
	switch kindOf[endingOf(name)] {
	case "text", documentation, "":
		return aboutDataName.MatchString(path.Base(name))
	}
	return false
}

// oneKind returns the files of the most common kind, by the rule of the datasets library: endings are counted, and
// preferred endings win ties. Documentation counts only if there is nothing else; texts about the data never count.
func oneKind(names []string) (kept, left []string) {
	counts := map[string]int{}
	for _, n := range names {
		if !isAboutData(n) {
			counts[endingOf(n)]++
		}
	}
	best := ""
	for ending := range counts {
		if best == "" || compareEndings(ending, best, counts) > 0 {
			best = ending
		}
	}
	for _, n := range names {
		if best != "" && kindOf[endingOf(n)] == kindOf[best] && !isAboutData(n) {
			kept = append(kept, n)
		} else {
			left = append(left, n)
		}
	}
	return kept, left
}

// compareEndings orders two endings by which one determines the kind of a folder's data.
func compareEndings(a, b string, counts map[string]int) int {
	preference := func(ending string) int {
		if i := slices.Index(preferredEndings, ending); i >= 0 {
			return len(preferredEndings) - i
		}
		return 0
	}
	data := func(ending string) int {
		if kindOf[ending] == documentation {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(data(a), data(b)), cmp.Compare(counts[a], counts[b]), cmp.Compare(preference(a), preference(b)), cmp.Compare(a, b))
}

// ofFormat returns the files whose names fit a format, or all if none fits, but never texts about the data.
func ofFormat(names []string, format string) (kept, left []string) {
	format, _, _ = strings.Cut(format, ":")
	var others, papers []string
	for _, n := range names {
		switch kind := kindOf[endingOf(n)]; {
		case isAboutData(n):
			papers = append(papers, n)
		case kind == format || kind == "json" && format == "jsonl" || kind == documentation && format == "text":
			kept = append(kept, n)
		default:
			others = append(others, n)
		}
	}
	if len(kept) == 0 {
		return others, papers
	}
	return kept, append(others, papers...)
}
