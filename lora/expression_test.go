package lora

import (
	"strings"
	"testing"
	"time"
)

// TestExpression compares matching with Python's re.fullmatch.
func TestExpression(t *testing.T) {
	const path = "backbone.layers.10.mixer.in_proj"
	for source, want := range map[string]bool{
		`.*in_proj`: true, `in_proj`: false, `.*\.(in|out)_proj`: true, `.*\.1\d\..*`: true, `.*[^.]proj`: true, `.*[]_]proj$`: true,
		`^.*layers\.[0-9]+\.[a-z]+\.in_proj$`: true, `(?:.*)layers\.1\.mixer\.in_proj`: false, `.*\.layers\.\d{2}\..*`: true, `.*layers.{,3}\.mixer.*`: true,
		`(?!.*out).*`: true, `(?!.*in_).*`: false, `.*(?<=in_)proj`: true, `(.)ackbone.*`: true, `.*(n).*\1_proj`: true, `(?i).*IN_PROJ`: true,
		`([a-z._0-9]+)+`: true, `(([a-z._0-9])+)+X0`: false, `(a|aa)+$`: false, `.*?in_.*?`: true, `(?P<x>.*)in_proj`: true, `.*(?P<x>n).*(?P=x)_proj`: true, `.*[{,}P]*in_proj`: true, `.*\{,3}`: false, `\w+\.\D*10\W.*`: true, ``: false,
	} {
		left := time.Minute
		e, err := compile(source, "", "", &left)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := e.match(path); got != want || err != nil {
			t.Errorf("%s: %v, %v, want %v", source, got, err, want)
		}
		if lookaround := strings.Contains(source, "(?!") || strings.Contains(source, `\1`); lookaround == (e.linear != nil) && !strings.ContainsAny(source, "{<P") && !strings.HasPrefix(source, "(?i)") {
			t.Errorf("%s: linear %v", source, e.linear != nil)
		}
	}
}

// TestExpression_limits checks that no expression takes exponential time, and that exceeding the limit is not
// reported as a mismatch.
func TestExpression_limits(t *testing.T) {
	left := time.Duration(0)
	e, err := compile(`(?=(([a-z._0-9])+)+X0).*`, "", "", &left)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.match(strings.Repeat("a", 40)); err == nil || !strings.Contains(err.Error(), `"(?=(([a-z._0-9])+)+X0).*" takes too long`) {
		t.Errorf("no limit: %v", err)
	}
	for _, source := range []string{strings.Repeat("a", maxExpression+1), strings.Repeat("(", 200) + strings.Repeat(")", 200), strings.Repeat("(?!", 1<<15)} {
		if _, err := compile(source, "", "", &left); err == nil || len(err.Error()) > 400 {
			t.Errorf("%.20s: error %.500v", source, err)
		}
	}
	bombs := Pattern[int]{}
	for range 100 {
		bombs = append(bombs, PatternEntry[int]{`(([a-z._0-9])+)+X`, 4})
	}
	table, err := bombs.compile()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := table.lookup("backbone.layers.0.mixer.in_proj", 8); r != 8 || err != nil {
		t.Errorf("rank %d, %v", r, err)
	}
	if _, err := make(Pattern[int], maxPatterns+1).compile(); err == nil {
		t.Error("the number of entries is not limited")
	}
}
