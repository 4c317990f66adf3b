package jinja

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestHostile renders templates that would exhaust memory or time, or never end.
func TestHostile(t *testing.T) {
	grow := "{% set ns = namespace(l=[]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}"
	often := func(body string) string {
		return "{% set s = 'a' * 16000000 %}{% for i in range(100000) %}{% for j in range(100000) %}" + body + "{% endfor %}{% endfor %}"
	}
	for _, c := range []struct{ source, want string }{
		{`{{ "a" * 10000000000 }}`, "16 MiB"},
		{`{{ [0] * 10**9 }}`, "a million items"},
		{`{{ "a" | center(10000000000) }}`, "16 MiB"},
		{`{{ 'x'.ljust(10**12) }}`, "16 MiB"},
		{`{{ 'x'.zfill(10**12) }}`, "16 MiB"},
		{`{{ 'a	b'.expandtabs(10**10) }}`, "16 MiB"},
		{`{{ 'x' | indent(10**10) }}`, "16 MiB"},
		{`{{ ('x\n' * 1000000) | indent(1000) }}`, "16 MiB"},
		{`{{ '%1000000000d' % 1 }}`, "16 MiB"},
		{`{{ '%.1000000000f' % 1 }}`, "16 MiB"},
		{`{{ '%*d' % (10**10, 1) }}`, "16 MiB"},
		{`{{ '{:>1000000000}'.format(1) }}`, "16 MiB"},
		{`{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}`, "16 MiB"},
		{`{{ ','.join(['x' * 1000000] * 100000) }}`, "16 MiB"},
		{`{{ [1] | tojson(indent=10**9) }}`, "16 MiB"},
		{`{{ ('a ' * 5000000).split() | length }}`, "a million items"},
		{`{{ ('a' * 10000000) | list | length }}`, "a million items"},
		{`{{ [1] | batch(10**9, 'x') | list }}`, "a million items"},
		{`{{ [1] | slice(10**9) | list | length }}`, "a million items"},
		{`{% for i in range(10000000000) %}{% endfor %}`, "range of more than"},
		{`{{ 2 ** 10**9 }}`, "64 bits"},
		{`{{ 1 // 0 }}`, "division by zero"},
		{`{% set ns = namespace(s="aaaaaaaa") %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}`, "16 MiB"},
		{`{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}`, "runs too long"},
		{`{% set s = 'ab' * 4000000 %}{% for i in range(100000) %}{{ s.count('ba') }}{% endfor %}`, "runs too long"},
		{`{% set s = 'ab' * 4000000 %}{% for i in range(100000) %}{% set x = s ~ i %}{% endfor %}`, "too much memory"},
		{`{{ ('b' * 8000000).strip('a' * 8000000 ~ 'b') }}{{ 1 // 0 }}`, "division by zero"},
		{often(strings.Repeat("{{''}}", 40000)), "runs too long"},
		{often("{% if 0 %}" + strings.Repeat("{% elif 0 %}", 20000) + "{% endif %}"), "runs too long"},
		{often("{% if s %}{% endif %}"), "runs too long"},
		{often("{% if s | length %}{% endif %}"), "runs too long"},
		{often("{% if s[0] %}{% endif %}"), "runs too long"},
		{often("{% if s is upper %}{% endif %}"), "runs too long"},
		{often("{% if s in {} %}{% endif %}"), "runs too long"},
		{"{% set t = ('a' * 1000000,) %}{% for i in range(100000) %}{% if t in {} %}{% endif %}{% endfor %}", "runs too long"},
		{often("{% if '%.1s' % s %}{% endif %}"), "runs too long"},
		{often("{% if 1.5 ** -1000 %}{% endif %}"), "runs too long"},
		{often("{% for c in s %}{% break %}{% endfor %}"), "runs too long"},
		{often("{% set x = '' | indent(16000000) %}"), "too much memory"},
		{often("{% set x = 1 | tojson(indent=16000000) %}"), "too much memory"},
		{"{% set d = dict.fromkeys(range(100000) | map('string')) %}{% set e = dict(**d) %}", "runs too long"},
		{"{% set t = ('b',) * 1000000 %}{% for i in range(100000) %}{% if 'a'.startswith(t) %}{% endif %}{% endfor %}", "runs too long"},
		{grow + `{{ ns.l == ns.l }}`, "runs too long"},
		{grow + `{{ ns.l }}`, "16 MiB"},
		{grow + `{{ ns.l | tojson }}`, "16 MiB"},
		{`{% set ns = namespace(l=1) %}{% for i in range(10000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}`, "nested too deeply"},
		{`{% set ns = namespace(l=1) %}{% for i in range(10000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l == ns.l }}`, "nested too deeply"},
		{`{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}`, "nested too deeply"},
		{`{% set ns = namespace(x=[1]) %}{% for i in range(9000) %}{% set ns.x = ns.x | select %}{% endfor %}{{ ns.x | list }}`, "nested too deeply"},
		{`{% set ns = namespace(x=[1]) %}{% for i in range(9000) %}{% set ns.x = [ns.x] | map('list') %}{% endfor %}{{ ns.x | list }}`, "nested too deeply"},
		{`{% set d = dict.fromkeys(range(10000)) %}{% for i in range(100000) %}{% for x in d | items %}{% endfor %}{% endfor %}`, "runs too long"},
		{`{% macro a(n) %}{{ a(n) }}{% endmacro %}{{ a(1) }}`, "too deeply"},
		{`{% macro a(n=a()) %}{% endmacro %}{{ a() }}`, "too deeply"},
		{`{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}`, "too deeply"},
		{`{% include "/chat" %}`, `the tag "include" is not supported`},
		{`{% extends "/chat" %}`, `the tag "extends" is not supported`},
		{`{% import "/chat" as c %}`, `the tag "import" is not supported`},
		{`{{ ` + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000) + ` }}`, "levels deep"},
		{`{{ ` + strings.Repeat("not ", 50000) + `1 }}`, "levels deep"},
		{`{{ ` + strings.Repeat("-", 50000) + `1 }}`, "levels deep"},
		{`{{ 1` + strings.Repeat("+1", 50000) + ` }}`, "in a row"},
		{`{{ x` + strings.Repeat(".x", 50000) + ` }}`, "in a row"},
		{`{{ x` + strings.Repeat("|e", 50000) + ` }}`, "in a row"},
		{`{{ x` + strings.Repeat(" if x else x", 15000) + ` }}`, "levels deep"},
		{strings.Repeat("{% if 1 %}", 20000), "levels deep"},
		{strings.Repeat("x", maxTemplate+1), "bytes, more than"},
		{"a\n\xff", "not UTF-8"},
		{"{{ 'ab' | map('evil') | list }}", "the filter 'evil' does not exist"},
		{`{{ raise_exception("\x1b[2J` + strings.Repeat("a", 1000) + `") }}`, `line 1: \x1b[2Jaaa`},
	} {
		name := c.source[:min(len(c.source), 60)]
		template, err := Parse("chat_template", c.source)
		if err == nil {
			l := limits{ctx: t.Context()}
			switch c.want { // the last tenth takes long enough
			case "runs too long":
				l.steps = maxSteps * 9 / 10
			case "too much memory":
				l.memory = maxMemory * 9 / 10
			}
			_, err = template.render(l, nil)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		} else if text := err.Error(); strings.Contains(text, "\n") || len(text) > 2000 || !strings.HasPrefix(text, "chat_template: line ") {
			t.Errorf("%s: error %q is not one line that names the template", name, text)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx := &endingContext{Context: t.Context(), asked: 3}
	_, err := render(ctx, `{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}`, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}

// endingContext is canceled after its state has been checked a number of times.
type endingContext struct {
	context.Context
	asked int
}

func (c *endingContext) Err() error {
	if c.asked--; c.asked < 0 {
		return context.Canceled
	}
	return nil
}

// TestErrors checks that errors name the line and the cause.
func TestErrors(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"a\n{{ x + 1 }}", "line 2: 'x' is undefined"},
		{"a\n\n{% if {}.b + 1 %}{% endif %}", "line 3: 'dict object' has no attribute 'b'"},
		{"{% if x %}\n{{ [1,\n2] | nope }}{% endif %}\n", ""},
		{"{{ 1 }}\n{{ [1,\n2] | nope }}\n", `line 3: the filter "nope" does not exist`},
		{"\n{{ 1 is nope }}", `line 2: the test "nope" does not exist`},
		{"\n{{ 'a'.nope() }}", `line 2: 'str object' has no attribute 'nope'`},
		{"\n{{ 'a'.encode() }}", `line 2: the method encode is not supported`},
		{"\n{% nope %}", `line 2: unknown tag "nope"`},
		{"{% for x in y %}\n{% endif %}", `line 2: unknown tag "endif": looking for endfor or else to close "for"`},
		{"\n{% for x in y %}\n", `line 2: unexpected end of template`},
		{"\n{{ 'a' | random }}", "line 2: the filter \"random\" is not supported: its result is not defined"},
		{"\n{{ 'a'.upper }}", "line 2: printing a function would print its address"},
		{"\n{{ 9223372036854775807 + 1 }}", "line 2: an integer needs more than 64 bits"},
		{"\n{{ '\\ud800' }}", `line 2: \ud800 is not a character`},
		{"{% macro m() %}\n{{ 1 + 'a' }}{% endmacro %}\n\n{{ m() }}", "line 2: unsupported operand type(s) for +: 'int' and 'str'"},
		{"{% macro m() %}\n{% endmacro %}\n\n{{ m() + 1 }}", "line 4: unsupported operand"},
	} {
		_, err := render(t.Context(), c.source, nil)
		if c.want == "" {
			if err != nil {
				t.Errorf("%q: %v", c.source, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.source, err, c.want)
		}
	}
}

func render(ctx context.Context, source string, variables map[string]Value) (*Result, error) {
	template, err := Parse("chat_template", source)
	if err != nil {
		return nil, err
	}
	return template.Render(ctx, variables)
}
