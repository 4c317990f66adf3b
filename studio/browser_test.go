package studio_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"mambatrain/internal/filelock"
	"mambatrain/studio"
	"mambatrain/studio/runs"
	"mambatrain/studio/studiotest"
)

// writeFiles writes the files of a run.
func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// rows returns lines of a journal, with an evaluation every third step.
func rows(from, to int, loss float64) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, `{"step":%d,"epoch":%d.5,"loss":%g,"grad_norm":1.5,"learning_rate":0.001,"num_tokens":%d,"tokens_per_second":50}`+"\n", i*10, i, loss/float64(i), i*1000)
		if i%3 == 0 {
			fmt.Fprintf(&b, `{"step":%d,"epoch":%d.5,"eval_loss":%g}`+"\n", i*10, i, 2*loss/float64(i))
		}
	}
	return b.String()
}

const facts = `{"model":"base","steps":%d,"memory_bytes":1048576,"device":"CPU","sessions":[{"started":"2026-01-02T03:04:05Z","step":0},{"started":"2026-01-02T04:04:05Z","step":30}]}`

// finished writes a complete run with everything that the page shows.
func finished(t *testing.T, dir string, loss float64, rate string) {
	t.Helper()
	writeFiles(t, dir, map[string]string{
		"log.jsonl":          rows(1, 12, loss),
		"run.json":           fmt.Sprintf(facts, 120),
		"trainer_state.json": `{"best_global_step":90,"best_metric":0.5,"global_step":120,"log_history":[],"max_steps":120,"stateful_callbacks":{"mamba_train":{"attributes":{"finished":true}}}}`,
		"config.yaml":        "model: base\ntrain:\n  learning_rate: " + rate + "\n",
		"samples.jsonl":      `{"step":30,"prompt":"A friend","text":" is late."}` + "\n" + `{"step":60,"prompt":"A friend","text":" is kind."}` + "\n",
		"README.md":          "# A card\n",
	})
	if err := os.MkdirAll(filepath.Join(dir, "checkpoint-120"), 0o777); err != nil {
		t.Fatal(err)
	}
}

// open opens the studio in a browser.
func (p page) open(t *testing.T, ctx context.Context) {
	t.Helper()
	studiotest.Do(t, ctx, chromedp.Navigate(p.url.String()))
	studiotest.Until(t, ctx, `document.querySelector("main h1")`)
}

// to navigates to a view by its URL.
func to(t *testing.T, ctx context.Context, parts ...string) {
	t.Helper()
	b, _ := json.Marshal(parts)
	studiotest.Evaluate[any](t, ctx, `location.hash = "#/" + `+string(b)+`.map(encodeURIComponent).join("/"), null`)
}

// shows waits until an element contains a text.
func shows(t *testing.T, ctx context.Context, selector, text string) {
	t.Helper()
	b, _ := json.Marshal(text)
	studiotest.Until(t, ctx, fmt.Sprintf(`[...document.querySelectorAll(%q)].some((e) => e.textContent.includes(%s))`, selector, b))
}

func TestPage_watchesRun(t *testing.T) {
	ctx := studiotest.Browser(t)
	dir := t.TempDir()
	run := filepath.Join(dir, "live")
	writeFiles(t, run, map[string]string{"log.jsonl": rows(1, 3, 4), "run.json": fmt.Sprintf(facts, 100)})
	lock, err := filelock.Try(filepath.Join(run, ".lock"))
	if err != nil {
		t.Fatal(err)
	}
	p := serve(t, studio.Options{}, dir)
	p.open(t, ctx)
	name := filepath.Base(dir) + "/live"
	shows(t, ctx, "tbody tr", name)
	shows(t, ctx, "tbody tr", "running")
	shows(t, ctx, "tbody tr", "30 / 100")
	if got := studiotest.Evaluate[string](t, ctx, "location.search"); got != "" {
		t.Errorf("the token stays in the address: %s", got)
	}

	to(t, ctx, "run", name)
	shows(t, ctx, "dd", "30 / 100")
	studiotest.Until(t, ctx, `document.querySelectorAll(".plot canvas").length >= 4`)
	f, err := os.OpenFile(filepath.Join(run, "log.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString(rows(4, 6, 4) + `{"step":9999,"lo`) // incomplete line
	shows(t, ctx, "dd", "60 / 100")
	studiotest.Until(t, ctx, `document.querySelector(".plot").getAttribute("aria-label").includes("up to step 60")`)
	f.WriteString("\n" + rows(7, 7, 4)) // soon after the page has read the curves, and nothing follows
	lock.Close()
	shows(t, ctx, ".state", "lost")
	studiotest.Until(t, ctx, `document.querySelector(".plot").getAttribute("aria-label").includes("up to step 70")`)

	studiotest.Do(t, ctx, chromedp.Reload()) // without the token in the URL
	shows(t, ctx, "dd", "70 / 100")
}

func TestPage_showsRun(t *testing.T) {
	ctx := studiotest.Browser(t)
	dir := t.TempDir()
	finished(t, filepath.Join(dir, "a"), 4, "1.0e-3")
	data := func(context.Context, string) (*studio.Data, error) {
		return &studio.Data{Documents: 2, Rows: []studio.DataRow{{Tokens: 2, Labels: 1, Segments: []studio.DataSegment{{Text: "Why? "}, {Text: "So.", Counted: true}}}},
			Histogram: []studio.LengthBin{{From: 1, To: 2, Documents: 2}}}, nil
	}
	p := serve(t, studio.Options{Data: data}, dir)
	p.open(t, ctx)
	name := filepath.Base(dir) + "/a"
	to(t, ctx, "run", name)
	shows(t, ctx, "dd", "0.5 at step 90")
	shows(t, ctx, ".marks", "1 checkpoint")
	shows(t, ctx, ".marks", "resumed after step 30")
	studiotest.Until(t, ctx, `document.querySelectorAll(".plot canvas").length >= 4`)
	studiotest.Evaluate[any](t, ctx, `document.querySelector("details.numbers").open = true, null`)
	shows(t, ctx, ".numbers td", "evaluation loss")
	studiotest.Do(t, ctx, chromedp.Focus(chromedp.CSS(".plot")), chromedp.KeyEvent(kb.ArrowLeft))
	const set = `((e, v) => { e.value = v; e.dispatchEvent(new Event(e.type === "range" ? "input" : "change")); })(document.querySelector(%q), %q), null`
	studiotest.Evaluate[any](t, ctx, `document.querySelector(".controls input[type=checkbox]").click(), null`)
	studiotest.Evaluate[any](t, ctx, fmt.Sprintf(set, ".controls input[type=range]", "0.8"))
	for axis, far := range map[string]string{"tokens": "12,000", "seconds": "4 min", "step": "120"} {
		studiotest.Evaluate[any](t, ctx, fmt.Sprintf(set, ".controls select", axis))
		studiotest.Do(t, ctx, chromedp.Focus(chromedp.CSS(".plot")), chromedp.KeyEvent(kb.End))
		shows(t, ctx, ".readout .faint", far)
	}
	for part, text := range map[string]string{"samples": " is kind.", "settings": "train.learning_rate", "card": "# A card", "data": "row 0: 2 tokens, 1 label"} {
		to(t, ctx, "run", name, part)
		shows(t, ctx, "main section", text)
	}
	shows(t, ctx, "main section", "")
	to(t, ctx, "run", name, "data")
	shows(t, ctx, ".sample .masked", "Why? ")
}

func TestPage_comparesRuns(t *testing.T) {
	ctx := studiotest.Browser(t)
	dir := t.TempDir()
	finished(t, filepath.Join(dir, "a"), 4, "1.0e-3")
	finished(t, filepath.Join(dir, "b"), 5, "2.0e-3")
	p := serve(t, studio.Options{}, dir)
	p.open(t, ctx)
	studiotest.Until(t, ctx, `document.querySelectorAll("tbody input").length === 2`)
	studiotest.Evaluate[any](t, ctx, `document.querySelectorAll("tbody input").forEach((b) => b.click()), null`)
	shows(t, ctx, "a.button", "Compare 2 runs")
	studiotest.Evaluate[any](t, ctx, `document.querySelector("a.button").click(), null`)
	shows(t, ctx, "main section", "train.learning_rate")
	shows(t, ctx, "main section td", "0.002")
	studiotest.Until(t, ctx, `document.querySelector(".plot")?.getAttribute("aria-label").includes("/b: from 5")`)
}

// Names and texts of a run are always shown as text, never as markup.
func TestPage_hostileTextStaysText(t *testing.T) {
	ctx := studiotest.Browser(t)
	dir := t.TempDir()
	const evil = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`
	name := `<img src=x onerror=window.hacked=1> & "q" 'p' %2e%2e #`
	quoted, _ := json.Marshal(evil)
	run := filepath.Join(dir, name)
	finished(t, run, 4, "1.0e-3")
	writeFiles(t, run, map[string]string{
		"run.json":      fmt.Sprintf(`{"model":%s,"device":%[1]s,"steps":120}`, quoted),
		"samples.jsonl": fmt.Sprintf(`{"step":1,"prompt":%s,"text":%[1]s}`+"\n", quoted),
		"README.md":     evil,
		"config.yaml":   "model: '" + evil + "'\ntrain: {'" + evil + "': 1}\n",
		"log.jsonl":     rows(1, 3, 4) + fmt.Sprintf(`{"step":40,%s:1,"eval_%s":2}`+"\n", quoted, strings.Trim(string(quoted), `"`)),
	})
	data := func(context.Context, string) (*studio.Data, error) {
		return &studio.Data{Rows: []studio.DataRow{{Segments: []studio.DataSegment{{Text: evil}}}}, Histogram: []studio.LengthBin{}}, nil
	}
	p := serve(t, studio.Options{Data: data}, dir)
	p.open(t, ctx)
	id := filepath.Base(dir) + "/" + name
	shows(t, ctx, "tbody th a", id)
	studiotest.Evaluate[any](t, ctx, `document.querySelector("tbody th a").click(), null`)
	shows(t, ctx, "h1", id)
	shows(t, ctx, "dd", evil)
	shows(t, ctx, "figcaption", "onerror")
	for _, part := range []string{"samples", "settings", "card", "data"} {
		to(t, ctx, "run", id, part)
		shows(t, ctx, "main section", evil)
	}
	to(t, ctx, "compare", id, "<b>none</b>")
	shows(t, ctx, "tbody th", id)
	if studiotest.Evaluate[bool](t, ctx, `"hacked" in window || document.querySelector("main img, main script, main b:not(.readout b)") !== null`) {
		t.Error("a text became markup")
	}
}

// emulate sets the width of the window and the preferred color scheme.
func emulate(t *testing.T, ctx context.Context, width int64, scheme string) {
	t.Helper()
	studiotest.Do(t, ctx, chromedp.EmulateViewport(width, 900), func(ctx context.Context, tab *chromedp.Target) (none chromedp.Void, err error) {
		_, err = cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return none, err
	})
}

// axe-core finds no serious problem in any view, at any width or color scheme, and nothing is wider than the window.
func TestPage_isAccessible(t *testing.T) {
	ctx := studiotest.Browser(t)
	axe, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	finished(t, filepath.Join(dir, "a"), 4, "1.0e-3")
	finished(t, filepath.Join(dir, "a-run-with-a-rather-long-name-that-does-not-fit-on-a-phone"), 4, "2.0e-3")
	data := func(context.Context, string) (*studio.Data, error) {
		return &studio.Data{Documents: 1, Rows: []studio.DataRow{{Segments: []studio.DataSegment{{Text: "Why? "}, {Text: "So.", Counted: true}}}}, Histogram: []studio.LengthBin{{From: 1, To: 2, Documents: 1}}}, nil
	}
	p := serve(t, studio.Options{Data: data}, dir)
	base := filepath.Base(dir)
	views := [][]string{{}, {"run", base + "/a"}, {"run", base + "/a", "samples"}, {"run", base + "/a", "settings"}, {"run", base + "/a", "data"}, {"run", base + "/a", "card"},
		{"compare", base + "/a", base + "/a-run-with-a-rather-long-name-that-does-not-fit-on-a-phone"}}
	p.open(t, ctx)
	studiotest.Evaluate[any](t, ctx, string(axe)+"; null")
	for _, look := range []struct {
		width  int64
		scheme string
	}{{400, "light"}, {1000, "dark"}, {1600, "light"}} {
		emulate(t, ctx, look.width, look.scheme)
		for _, view := range views {
			to(t, ctx, view...)
			studiotest.Until(t, ctx, `document.querySelector("main h1") && !document.querySelector("main section p[role=status]")`)
			where := fmt.Sprintf("%v at %d, %s", view, look.width, look.scheme)
			found := studiotest.Evaluate[string](t, ctx, `axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations
				.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) => v.id + ": " + v.nodes.map((n) => n.html + " " + n.failureSummary).join("; ")).join("\n"))`)
			if found != "" {
				t.Errorf("%s: %s", where, found)
			}
			if wide := studiotest.Evaluate[int](t, ctx, "document.documentElement.scrollWidth"); int64(wide) > look.width {
				t.Errorf("%s: the page is %d wide", where, wide)
			}
		}
	}
}

// asset reads a vendored file of the page.
func asset(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("assets/vendor", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A report opens without a server, shows the same as the page, and shows texts as text.
func TestReport(t *testing.T) {
	ctx := studiotest.Browser(t)
	dir := t.TempDir()
	evil := `</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>`
	finished(t, filepath.Join(dir, "a"), 4, "1.0e-3")
	finished(t, filepath.Join(dir, "b"), 5, "2.0e-3")
	writeFiles(t, filepath.Join(dir, "b"), map[string]string{"README.md": evil})
	l, err := runs.Open(filepath.Join(dir, "a"), filepath.Join(dir, "b"))
	if err != nil {
		t.Fatal(err)
	}
	var report bytes.Buffer
	if err := studio.WriteReport(&report, l); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(report.String(), asset(t, "uPlot.LICENSE")) {
		t.Error("the report has uPlot without its license")
	}
	writeFiles(t, dir, map[string]string{"report.html": report.String()})
	studiotest.Do(t, ctx, chromedp.Navigate("file://"+filepath.ToSlash(filepath.Join(dir, "report.html"))))
	shows(t, ctx, "main section", "train.learning_rate")
	studiotest.Until(t, ctx, `document.querySelectorAll(".plot canvas").length >= 4`)
	to(t, ctx, "run", "b", "card")
	shows(t, ctx, "pre", evil)
	to(t, ctx, "run", "a", "samples")
	shows(t, ctx, "main section", " is kind.")
	if studiotest.Evaluate[bool](t, ctx, `"hacked" in window`) {
		t.Error("a text became a script")
	}
}
