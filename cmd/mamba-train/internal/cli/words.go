package cli

import (
	"fmt"
	"io"
	"strings"
)

// WordWriter writes streamed text word by word and breaks lines longer than Columns between words.
type WordWriter struct {
	To      io.Writer
	Columns int // 0 to leave lines unbroken

	column       int // where the next word starts
	spaces, word strings.Builder
}

// Add adds text. It holds back the last word until it is complete.
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

// End writes the word that was held back and ends the line.
func (w *WordWriter) End() {
	w.flush()
	w.newLine()
}

// flush writes the pending word.
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
