package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// encodings are the values of data.encoding.
var encodings = []string{"utf-8", "latin-1", "windows-1252", "utf-16"}

// encodingNames maps the names of encodings, without dashes and underscores, to the names in encodings; "" is UTF-8.
var encodingNames = map[string]string{
	"": "utf-8", "utf8": "utf-8", "utf8sig": "utf-8", "ascii": "utf-8", "usascii": "utf-8",
	"latin1": "latin-1", "latin": "latin-1", "iso88591": "latin-1", "l1": "latin-1",
	"cp1252": "windows-1252", "windows1252": "windows-1252", "1252": "windows-1252",
	"utf16": "utf-16", "utf16le": "utf-16",
}

// canonicalEncoding returns the name in encodings for an encoding, or "" if it is unknown.
func canonicalEncoding(name string) string {
	return encodingNames[strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(name))]
}

var byteOrderMark = []byte("\xEF\xBB\xBF")

// decodeText returns the text as UTF-8 without a byte order mark. Bytes that are invalid in the encoding are an error
// that names their line; no character is ever replaced.
func decodeText(ctx context.Context, in *bufio.Reader, encoding string) (io.Reader, error) {
	head, _ := in.Peek(64)
	d := &decoder{ctx: ctx, in: in, line: 1, name: encoding}
	switch encoding {
	case "", "utf-8":
		if looksLikeUTF16(head) {
			return nil, errors.New("looks like UTF-16: set data.encoding to utf-16")
		}
		if bytes.HasPrefix(head, byteOrderMark) {
			in.Discard(len(byteOrderMark))
		}
		d.name, d.decode = "utf-8", decodeUTF8
	case "latin-1":
		d.decode = decodeLatin1
	case "windows-1252":
		d.decode = decodeWindows1252
	case "utf-16":
		big := len(head) > 1 && head[0] == 0 && head[1] != 0
		switch {
		case bytes.HasPrefix(head, []byte("\xFF\xFE\x00\x00")):
			return nil, errors.New("is UTF-32, which is not supported: convert it to UTF-8")
		case bytes.HasPrefix(head, []byte("\xFF\xFE")), bytes.HasPrefix(head, []byte("\xFE\xFF")):
			big = head[0] == 0xFE
			in.Discard(2)
		}
		d.decode = utf16Decoder{big}.decode
	default:
		return nil, fmt.Errorf("unknown encoding %q", encoding)
	}
	return d, nil
}

// looksLikeUTF16 reports whether text begins with a UTF-16 byte order mark or has zero for every other byte, which
// UTF-8 text never has.
func looksLikeUTF16(head []byte) bool {
	if bytes.HasPrefix(head, []byte("\xFF\xFE")) || bytes.HasPrefix(head, []byte("\xFE\xFF")) {
		return true
	}
	zeros := [2]int{}
	for i, b := range head[:len(head)/2*2] {
		if b == 0 {
			zeros[i%2]++
		}
	}
	pairs := len(head) / 2
	return pairs > 1 && zeros[0]+zeros[1] == pairs && (zeros[0] == 0 || zeros[1] == 0)
}

// decoder converts text from another encoding to UTF-8, or checks that it is UTF-8.
type decoder struct {
	ctx  context.Context
	in   io.Reader
	name string
	// decode appends the text in src to dst up to the end of src or an incomplete or invalid character. It returns the
	// number of bytes consumed.
	decode func(dst, src []byte) (out []byte, n int, ok bool)

	raw     []byte // not yet decoded
	text    []byte // decoded but not yet read
	line    int    // line at the end of the decoded text
	afterCR bool   // the last character was a carriage return
	err     error
}

// encodingError reports text that is invalid in its encoding.
type encodingError struct {
	line    int
	problem string
}

func (e *encodingError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.problem) }

func (d *decoder) Read(p []byte) (int, error) {
	for len(d.text) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		d.fill()
	}
	n := copy(p, d.text)
	d.text = d.text[n:]
	return n, nil
}

// fill decodes more text.
func (d *decoder) fill() {
	if d.raw == nil {
		d.raw = make([]byte, 0, bufferBytes)
	}
	if d.err = d.ctx.Err(); d.err != nil {
		return
	}
	n, err := d.in.Read(d.raw[len(d.raw):cap(d.raw)])
	d.raw = d.raw[:len(d.raw)+n]
	text, n, ok := d.decode(d.text[:0], d.raw)
	d.countLines(text)
	d.text = text
	rest := d.raw[n:]
	switch {
	case !ok || err == io.EOF && len(rest) > 0:
		d.err = d.invalid(rest)
	case err != nil:
		d.err = err
	}
	d.raw = append(d.raw[:0], rest...)
}

// countLines counts the line endings in the next part of the text: LF, CRLF, and CR.
func (d *decoder) countLines(text []byte) {
	d.line += bytes.Count(text, []byte("\n"))
	if bytes.IndexByte(text, '\r') < 0 {
		if d.afterCR && len(text) > 0 && text[0] != '\n' {
			d.line++
		}
		d.afterCR = d.afterCR && len(text) == 0
		return
	}
	for _, b := range text {
		if d.afterCR && b != '\n' {
			d.line++
		}
		d.afterCR = b == '\r'
	}
}

// invalid returns the error for bytes that are invalid in the encoding.
func (d *decoder) invalid(rest []byte) error {
	shown := rest[:min(len(rest), 1)]
	if d.name == "utf-16" {
		shown = rest[:min(len(rest), 2)]
	}
	problem := fmt.Sprintf("byte 0x%X is not valid %s", shown, strings.ToUpper(d.name))
	if d.name == "utf-8" {
		problem += ": set data.encoding to its encoding, such as latin-1, windows-1252, or utf-16"
	}
	return &encodingError{d.line, problem}
}

func decodeUTF8(dst, src []byte) ([]byte, int, bool) {
	if utf8.Valid(src) {
		return append(dst, src...), len(src), true
	}
	n := 0
	for n < len(src) {
		r, size := utf8.DecodeRune(src[n:])
		if r == utf8.RuneError && size == 1 {
			return append(dst, src[:n]...), n, !utf8.FullRune(src[n:])
		}
		n += size
	}
	return append(dst, src...), n, true
}

func decodeLatin1(dst, src []byte) ([]byte, int, bool) {
	for _, b := range src {
		dst = utf8.AppendRune(dst, rune(b))
	}
	return dst, len(src), true
}

// decodeWindows1252 rejects the five bytes that the code page leaves undefined, as Python does.
func decodeWindows1252(dst, src []byte) ([]byte, int, bool) {
	for i, b := range src {
		switch b {
		case 0x81, 0x8D, 0x8F, 0x90, 0x9D:
			return dst, i, false
		}
		dst = utf8.AppendRune(dst, charmap.Windows1252.DecodeByte(b))
	}
	return dst, len(src), true
}

type utf16Decoder struct{ bigEndian bool }

func (d utf16Decoder) unit(b []byte) rune {
	if d.bigEndian {
		return rune(b[0])<<8 | rune(b[1])
	}
	return rune(b[1])<<8 | rune(b[0])
}

func (d utf16Decoder) decode(dst, src []byte) ([]byte, int, bool) {
	n := 0
	for len(src)-n >= 2 {
		r := d.unit(src[n:])
		if !utf16.IsSurrogate(r) {
			dst, n = utf8.AppendRune(dst, r), n+2
			continue
		}
		if len(src)-n < 4 {
			return dst, n, r < 0xDC00 // the low surrogate is yet to come
		}
		pair := utf16.DecodeRune(r, d.unit(src[n+2:]))
		if pair == utf8.RuneError {
			return dst, n, false
		}
		dst, n = utf8.AppendRune(dst, pair), n+4
	}
	return dst, n, true
}
