package studiotest

import (
	"context"
	"os"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// emulate sets the width of the window and the preferred color scheme.
func emulate(t *testing.T, ctx context.Context, width int64, scheme string) {
	t.Helper()
	const height = 900
	Do(t, ctx, chromedp.EmulateViewport(width, height), func(ctx context.Context, tab *chromedp.Target) (none chromedp.Void, err error) {
		_, err = cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return none, err
	})
}

// Check reports serious problems that axe-core finds in the page, at several widths and in both color schemes, and elements
// that are wider than the window. axe is the path of the axe-core script.
func Check(t *testing.T, ctx context.Context, axe, where string) {
	t.Helper()
	script, err := os.ReadFile(axe)
	if err != nil {
		t.Fatal(err)
	}
	Evaluate[any](t, ctx, string(script)+"; null")
	for _, look := range []struct {
		width  int64
		scheme string
	}{{400, "light"}, {1000, "dark"}, {1600, "light"}} {
		emulate(t, ctx, look.width, look.scheme)
		found := Evaluate[string](t, ctx, `axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations
			.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) => v.id + ": " + v.nodes.map((n) => n.html + " " + n.failureSummary).join("; ")).join("\n"))`)
		if found != "" {
			t.Errorf("%s at %d, %s: %s", where, look.width, look.scheme, found)
		}
		if wide := Evaluate[int](t, ctx, "document.documentElement.scrollWidth"); int64(wide) > look.width {
			t.Errorf("%s at %d: the page is %d wide", where, look.width, wide)
		}
	}
}
