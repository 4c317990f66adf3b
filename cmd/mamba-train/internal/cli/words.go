package cli

import (
	"fmt"
	"io"
	"strings"
)

// WordWriter writes a text word by word, as it comes, and breaks lines of more than Columns between words.
type WordWriter struct {
	To      io.Writer
	Columns int // 0: lines stay as they are

	column       int // where the next word begins
	spaces, word strings.Builder
}

// Add adds text. Its last word is held back until it is complete.
func (w *WordWriter) Add(text string) {
	if w.Columns == 0 {
		fmt.Fprint(w.To, text)
		return
	}
	for _, r := range text {
		switch r {
		case '\n':
			w.flush()
			w.newLine()
		case ' ', '\t':
			w.flush()
			w.spaces.WriteRune(r)
		default:
			w.word.WriteRune(r)
			if displayWidth(w.word.String()) >= w.Columns {
				w.flush()
			}
		}
	}
}

// End writes what was held back and ends the line.
func (w *WordWriter) End() {
	w.flush()
	w.newLine()
}

// flush writes the word.
func (w *WordWriter) flush() {
	if w.word.Len() == 0 {
		return
	}
	const tab = 8
	space := strings.ReplaceAll(w.spaces.String(), "\t", strings.Repeat(" ", tab))
	word := w.word.String()
	if w.column > 0 && w.column+len(space)+displayWidth(word) > w.Columns {
		w.newLine()
		space = ""
	}
	fmt.Fprint(w.To, space+word)
	w.column += len(space) + displayWidth(word)
	w.spaces.Reset()
	w.word.Reset()
}

func (w *WordWriter) newLine() {
	fmt.Fprintln(w.To)
	w.column = 0
	w.spaces.Reset()
}
