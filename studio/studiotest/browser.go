// Package studiotest drives the studio's page in headless Chromium, for tests.
package studiotest

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// report is the time left before the test binary's deadline to say what the page shows.
const report = 20 * time.Second

// Browser starts Chromium with an empty profile and returns the context of a tab. Without Chromium, the test is skipped;
// with MAMBA_REQUIRE_BROWSER=1, it fails. A request to another machine fails the test. The only limit to what a test
// waits for is the deadline of the test binary: how long a page takes depends on what else the machine does.
func Browser(t *testing.T) context.Context {
	t.Helper()
	path := chromium()
	if path == "" {
		if os.Getenv("MAMBA_REQUIRE_BROWSER") == "1" {
			t.Fatal("MAMBA_REQUIRE_BROWSER is 1, and there is no chromium (apt-get install chromium)")
		}
		t.Skip("there is no chromium (apt-get install chromium)")
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
	}
	for _, flag := range []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage", "hide-scrollbars"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	ctx, cancel := chromedp.NewContext(context.Background(), chromedp.WithAllocatorOptions(options...))
	t.Cleanup(func() {
		chromedp.Cancel(ctx) // waits for the browser to exit
		cancel()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium does not start: %v", err)
	}
	if err := watch(t, ctx); err != nil {
		t.Fatal(err)
	}
	if deadline, ok := t.Deadline(); ok {
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-report))
		t.Cleanup(cancel)
	}
	return ctx
}

// chromium returns the path of the executable, or "" if there is none.
func chromium() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// Do runs actions in the tab.
func Do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// Evaluate returns the value of a JavaScript expression, after awaiting it if it is a promise.
func Evaluate[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// Until waits until a JavaScript expression is true.
func Until(t *testing.T, ctx context.Context, expression string) {
	t.Helper()
	const pause = 50 * time.Millisecond
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err != nil {
			t.Fatalf("waiting for %s: %v; the page shows\n%s", expression, err, text(ctx))
		}
		if ok {
			return
		}
		time.Sleep(pause)
	}
}

// text returns the visible text of the page.
func text(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	s, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		return err.Error()
	}
	return s
}
