package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// decoder is the decoder of a tokenizer whose symbols are characters.
type decoder struct {
	steps []decodeStep
	// The steps that work on one token at a time, used to decode a token in a stream.
	replace []replacement
	bytes   bool // <0x41> is A
	growth  growth
}

// A decodeStep transforms a list of tokens for the next step.
type decodeStep func(tokens []string) []string

type replacement struct{ old, new string }

// newDecoder parses Replace, ByteFallback, Fuse, Strip, and Metaspace in any order.
func newDecoder(c *component) (d decoder, err error) {
	if c == nil {
		return d, errors.New("decoder: missing")
	}
	list := []component{*c}
	if c.Type == "Sequence" {
		list = c.Decoders
	}
	for _, step := range list {
		if err := d.add(step); err != nil {
			return d, fmt.Errorf("decoder: %w", err)
		}
	}
	return d, nil
}

func (d *decoder) add(c component) error {
	switch c.Type {
	case "Metaspace":
		m, err := newMetaspace(c)
		if err != nil {
			return err
		}
		d.replace = append(d.replace, replacement{m.replacement, " "})
		d.steps = append(d.steps, m.decode)
	case "Replace":
		p, err := c.pattern()
		if err != nil || p.String == nil || *p.String == "" {
			return fmt.Errorf("step Replace: want a pattern {\"String\": …}, got %s", c.Pattern)
		}
		r := replacement{*p.String, c.Content}
		if err := d.growth.add(r.old, r.new); err != nil {
			return fmt.Errorf("step Replace: %w", err)
		}
		d.replace = append(d.replace, r)
		d.steps = append(d.steps, r.decode)
	case "ByteFallback":
		d.bytes = true
		d.steps = append(d.steps, joinBytes)
	case "Fuse":
		d.steps = append(d.steps, func(tokens []string) []string { return []string{strings.Join(tokens, "")} })
	case "Strip":
		if utf8.RuneCountInString(c.Content) != 1 || c.Start < 0 || c.Stop < 0 {
			return fmt.Errorf("step Strip: content %q, start %d, and stop %d: want a single character and counts", c.Content, c.Start, c.Stop)
		}
		d.steps = append(d.steps, stripEnds{c.Content, c.Start, c.Stop}.decode)
	default:
		return fmt.Errorf("type %q is not supported for this model", c.Type)
	}
	return nil
}

// token returns the bytes that a token represents within a text.
func (d *decoder) token(token string) []byte {
	for _, r := range d.replace {
		token = strings.ReplaceAll(token, r.old, r.new)
	}
	if b, ok := byteOfToken(token); ok && d.bytes {
		return []byte{b}
	}
	return []byte(token)
}

// text decodes tokens and joins them.
func (d *decoder) text(tokens []string) string {
	for _, step := range d.steps {
		tokens = step(tokens)
	}
	return strings.Join(tokens, "")
}

// decode removes the marks from the first token if one was prepended, and turns the others into spaces.
func (m *metaspace) decode(tokens []string) []string {
	for i, token := range tokens {
		space := " "
		if i == 0 && m.prepend != "never" {
			space = ""
		}
		tokens[i] = strings.ReplaceAll(token, m.replacement, space)
	}
	return tokens
}

func (r replacement) decode(tokens []string) []string {
	for i, token := range tokens {
		tokens[i] = strings.ReplaceAll(token, r.old, r.new)
	}
	return tokens
}

// joinBytes joins consecutive byte tokens into one. If they are not UTF-8, each becomes U+FFFD.
func joinBytes(tokens []string) (out []string) {
	var run []byte
	flush := func() {
		switch {
		case len(run) == 0:
		case utf8.Valid(run):
			out = append(out, string(run))
		default:
			out = append(out, strings.Split(strings.Repeat("\uFFFD", len(run)), "")...)
		}
		run = run[:0]
	}
	for _, token := range tokens {
		if b, ok := byteOfToken(token); ok {
			run = append(run, b)
			continue
		}
		flush()
		out = append(out, token)
	}
	flush()
	return out
}

// stripEnds removes up to start and stop occurrences of a character from the ends of every token.
type stripEnds struct {
	char        string
	start, stop int
}

func (s stripEnds) decode(tokens []string) []string {
	for i, token := range tokens {
		for n := 0; n < s.start && strings.HasPrefix(token, s.char); n++ {
			token = strings.TrimPrefix(token, s.char)
		}
		for n := 0; n < s.stop && strings.HasSuffix(token, s.char); n++ {
			token = strings.TrimSuffix(token, s.char)
		}
		tokens[i] = token
	}
	return tokens
}

// byteOfToken parses a token such as <0x41>.
func byteOfToken(token string) (b byte, ok bool) {
	if len(token) != 6 || token[:3] != "<0x" || token[5] != '>' {
		return 0, false
	}
	for _, c := range []byte(token[3:5]) {
		digit := strings.IndexByte("0123456789abcdef", c|0x20)
		if digit < 0 || c < '0' {
			return 0, false
		}
		b = b<<4 | byte(digit)
	}
	return b, true
}
