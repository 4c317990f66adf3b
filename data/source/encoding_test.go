package source

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"mambatrain/internal/testfile"
)

func TestEncodings(t *testing.T) {
	utf16 := func(big bool, units ...uint16) string {
		var b strings.Builder
		for _, u := range units {
			if big {
				b.Write([]byte{byte(u >> 8), byte(u)})
			} else {
				b.Write([]byte{byte(u), byte(u >> 8)})
			}
		}
		return b.String()
	}
	for _, c := range []struct{ encoding, raw, want string }{
		{"", "drei — 漢字 \U0001F600\uFFFD", "drei — 漢字 \U0001F600\uFFFD"},
		{"utf-8", "\xEF\xBB\xBFa", "a"},
		{"latin-1", "caf\xE9 \x80", "café \u0080"},
		{"windows-1252", "caf\xE9 \x80\x93", "café €“"},
		{"utf-16", utf16(false, 0xFEFF, 'a', 0xE9, 0xD83D, 0xDE00, '\n'), "aé\U0001F600\n"},
		{"utf-16", utf16(true, 0xFEFF, 'a', 0xE9, 0xD83D, 0xDE00), "aé\U0001F600"},
		{"utf-16", utf16(true, 'a', 'b'), "ab"},
		{"utf-16", utf16(false, 'a', 0x6F22), "a漢"},
		{"utf-16", "", ""},
	} {
		for name, in := range map[string]io.Reader{
			"whole": strings.NewReader(c.raw), "byte by byte": iotest.OneByteReader(strings.NewReader(c.raw)),
		} {
			text, err := decodeText(t.Context(), bufio.NewReader(in), c.encoding)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(text)
			if err != nil || string(got) != c.want {
				t.Errorf("%s, %s: %q is %q, %v, want %q", c.encoding, name, c.raw, got, err, c.want)
			}
		}
	}
}

// Text that is invalid in its encoding is rejected with its line; the rows before it are read.
func TestEncodings_faults(t *testing.T) {
	for _, c := range []struct{ name, encoding, content, want string }{
		{"a.csv", "", "text,author\nok,Ann\ncaf\xE9,Bob\n", "line 3: byte 0xE9 is not valid UTF-8: set data.encoding to its encoding"},
		{"a.csv", "", "text\r\rok\r\rcaf\xE9\r", "line 5"},
		{"a.jsonl", "", row("ok") + "\n" + row("caf\xE9"), "line 3"},
		{"a.json", "", "[" + row("ok") + "," + row("caf\xE9") + "]", "line 2"},
		{"a.txt", "", "ok\n" + strings.Repeat("x", bufferBytes) + "\ncaf\xE9", "line 3"},
		{"a.txt", "", "ok\ncaf\xC3", "line 2: byte 0xC3"},
		{"a.txt", "windows-1252", "ok\n\x81", "line 2: byte 0x81 is not valid WINDOWS-1252"},
		{"a.txt", "utf-16", "\xFF\xFEo\x00k\x00\n\x00a\x00\n\x00x", "line 3"},
		{"a.txt", "utf-16", "\xFF\xFEo\x00k\x00\n\x00\x00\xDC\n\x00", "line 2"},
		{"a.txt", "", "\xFF\xFEa\x00", "looks like UTF-16: set data.encoding to utf-16"},
		{"a.txt", "", "a\x00b\x00c\x00d\x00", "looks like UTF-16"},
		{"a.txt", "utf-16", "\xFF\xFE\x00\x00a\x00\x00\x00", "is UTF-32"},
		{"a.zip", "", "PK\x03\x04", "is a zip archive, which is not supported: unpack it"},
		{"a.txt.xz", "", "\xFD7zXZ\x00", "is compressed with xz, which is not supported: unpack it"},
		{"a.txt.gz", "", "a\n", "not compressed as .gz"},
		{"a.txt", "ebcdic", "a", `unknown encoding "ebcdic": set data.encoding to one of utf-8`},
	} {
		got, _, err := read(t, testfile.Write(t, c.name, c.content), Config{Encoding: c.encoding})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s %q: %v, want an error with %q", c.encoding, c.content[:min(len(c.content), 30)], err, c.want)
		}
		for _, s := range got {
			if strings.Contains(s, "\uFFFD") {
				t.Errorf("%s %q: %q is read", c.encoding, c.content, s)
			}
		}
		if strings.Contains(c.content, "ok\n") && c.encoding == "" && c.name != "a.txt" && len(got) != 1 {
			t.Errorf("%q: %q, want the row before the fault", c.content, got)
		}
	}
	for name, want := range map[string]string{"latin1": "latin-1", "CP1252": "windows-1252", "utf_8": "utf-8", "UTF-16LE": "utf-16", "koi8-r": ""} {
		if got := canonicalEncoding(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
