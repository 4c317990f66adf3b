package pyjson

import (
	"bytes"
	"strconv"
	"unicode"
	"unicode/utf16"
)

// LoneSurrogate returns the first escape sequence in b that is half of a surrogate pair, such as \ud83d, or "" if
// every pair is complete. Python writes halves for strings that are not text; encoding/json would replace them with U+FFFD.
func LoneSurrogate(b []byte) string {
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			return ""
		}
		b = b[i:]
		first, n := escaped(b)
		if utf16.IsSurrogate(first) {
			second, m := escaped(b[n:])
			if utf16.DecodeRune(first, second) == unicode.ReplacementChar {
				return string(b[:n])
			}
			n += m
		}
		b = b[n:]
	}
}

// escaped returns the code of the escape sequence such as \u00e9 at the start of b, or 0 for any other, and its length.
func escaped(b []byte) (code rune, length int) {
	if len(b) >= 6 && b[0] == '\\' && b[1] == 'u' {
		if c, err := strconv.ParseUint(string(b[2:6]), 16, 16); err == nil {
			return rune(c), 6
		}
	}
	return 0, min(2, len(b))
}
