package studio

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"mambatrain/studio/runs"
	"mambatrain/trainer"
)

// reportedRun is a run in a report.
type reportedRun struct {
	Summary  runs.Summary     `json:"summary"`
	Curves   runs.Curves      `json:"curves"`
	Samples  []trainer.Sample `json:"samples"`
	Settings []runs.Setting   `json:"settings"`
	Card     string           `json:"card"`
}

// WriteReport writes the page and the runs of a library as one HTML file that works without a server and loads nothing
// else.
func WriteReport(w io.Writer, l *runs.Library) error {
	var all struct {
		Runs []reportedRun `json:"runs"`
	}
	for _, s := range l.List() {
		r, err := reported(l, s)
		if err != nil {
			return err
		}
		all.Runs = append(all.Runs, r)
	}
	b, err := json.Marshal(all) // escapes < as \u003c, so no text can end the script element
	if err != nil {
		return err
	}
	styles := []string{asset("vendor/uPlot.css"), asset("style.css")}
	scripts := []string{asset("vendor/uPlot.js"), bundle()}
	_, err = fmt.Fprintf(w, reportPage, reportPolicy(scripts, styles), styles[0], styles[1], asset("vendor/uPlot.LICENSE"), scripts[0], b, scripts[1])
	return err
}

func reported(l *runs.Library, s runs.Summary) (r reportedRun, err error) {
	r.Summary = s
	r.Summary.SecondsLeft = nil
	if r.Curves, err = l.Curves(s.ID); err != nil {
		return r, err
	}
	if r.Samples, err = l.Samples(s.ID); err != nil {
		return r, err
	}
	if r.Settings, err = l.Settings(s.ID); err != nil {
		return r, err
	}
	r.Card, err = l.Card(s.ID)
	return r, err
}

const reportPage = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="%s">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>mamba-train report</title>
<style>%s</style>
<style>%s</style>
</head>
<body>
<noscript>The report needs JavaScript.</noscript>
<!-- Charts are drawn by uPlot.
%s-->
<script>%s</script>
<script type="application/json" id="report">%s</script>
<script type="module">%s</script>
</body>
</html>
`

// reportPolicy allows only the file's own scripts and styles, by hash, and no requests.
func reportPolicy(scripts, styles []string) string {
	hashes := func(texts []string) string {
		list := make([]string, len(texts))
		for i, text := range texts {
			sum := sha256.Sum256([]byte(text))
			list[i] = "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
		}
		return strings.Join(list, " ")
	}
	return "default-src 'none'; script-src " + hashes(scripts) + "; style-src " + hashes(styles) + "; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
}

// bundled lists the modules of a report in dependency order. Their top-level names are distinct.
var bundled = []string{"dom.js", "chart.js", "list.js", "run.js", "compare.js", "app.js", "report.js"}

var (
	importLine = regexp.MustCompile(`(?m)^import .*\n`)
	exportWord = regexp.MustCompile(`(?m)^export `)
)

// bundle concatenates the modules, because a file opened without a server cannot import others.
func bundle() string {
	var b strings.Builder
	for _, name := range bundled {
		b.WriteString(exportWord.ReplaceAllString(importLine.ReplaceAllString(asset(name), ""), ""))
	}
	return b.String()
}

// asset returns the content of an asset.
func asset(name string) string {
	b, err := fs.ReadFile(assets(), name)
	if err != nil {
		panic(err) // cannot fail: it is embedded in the program
	}
	return string(b)
}
