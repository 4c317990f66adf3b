package tokenizer

import "unicode/utf8"

// Span is the part [Start, End) of a text, in bytes, that a token came from. The span of a token that is part of a
// character covers the whole character.
type Span struct{ Start, End int }

// Encode returns the ids of text, including those that the tokenizer's post-processor adds around it. Special tokens
// spelled out in the text become their ids. Invalid UTF-8 is read as U+FFFD.
func (t *Tokenizer) Encode(text string) []int {
	return widen(t.AppendEncode(make([]int32, 0, len(text)/3+8), text))
}

func widen(ids []int32) []int {
	out := make([]int, len(ids))
	for i, id := range ids {
		out[i] = int(id)
	}
	return out
}

// AppendEncode appends the ids that Encode returns.
func (t *Tokenizer) AppendEncode(ids []int32, text string) []int32 {
	return append(t.AppendText(append(ids, t.before...), text), t.after...)
}

// Around returns the ids that the post-processor adds before and after a text.
func (t *Tokenizer) Around() (before, after []int) { return widen(t.before), widen(t.after) }

// AppendText appends the ids of text alone, without those that the post-processor adds.
func (t *Tokenizer) AppendText(ids []int32, text string) []int32 {
	e := t.newEncoding(ids)
	e.text(text)
	t.words.Put(e.words)
	return e.ids
}

// AppendSpans appends the ids of text, as AppendText does, and the part of text that each id came from.
func (t *Tokenizer) AppendSpans(ids []int32, spans []Span, text string) ([]int32, []Span) {
	e := t.newEncoding(ids)
	e.track, e.spans = true, spans
	e.text(text)
	t.words.Put(e.words)
	return e.ids, e.spans
}

// encoding is the state of encoding one text.
type encoding struct {
	*Tokenizer
	ids   []int32
	words *wordCache
	track bool // fill spans
	spans []Span
}

func (t *Tokenizer) newEncoding(ids []int32) encoding {
	return encoding{Tokenizer: t, ids: ids, words: t.words.Get().(*wordCache)}
}

// text follows the reference: it finds added tokens in the raw text, normalizes the text between them, finds added
// tokens in the result, and then splits and merges.
func (e *encoding) text(text string) {
	if !utf8.ValidString(text) {
		text = validUTF8([]byte(text))
	}
	e.added.raw.split(text, func(lo, hi int, id int32) {
		if id >= 0 {
			e.token(id, lo, hi)
			return
		}
		n := e.normalize(text[lo:hi], e.track)
		e.added.normalized.split(n.text, func(from, to int, id int32) {
			if id >= 0 {
				from, to = n.origin(from, to)
				e.token(id, lo+from, lo+to)
				return
			}
			e.part(&n, from, to, lo)
		})
	})
}

func (e *encoding) token(id int32, lo, hi int) {
	e.ids = append(e.ids, id)
	if e.track {
		e.spans = append(e.spans, Span{lo, hi})
	}
}

// part splits and merges n.text[lo:hi], which contains no added token. base is the offset of n in the whole text.
func (e *encoding) part(n *normalText, lo, hi, base int) {
	if e.characters != nil {
		e.characterPart(n, lo, hi, base)
		return
	}
	s, shift := n.text[lo:hi], 0
	if e.prefix && s[0] != ' ' {
		s, shift = " "+s, 1
	}
	word := func(from, to int) {
		first := len(e.ids)
		e.ids = e.appendWord(e.ids, s[from:to], e.words)
		if e.track {
			e.wordSpans(n, s[from:to], e.ids[first:], wordPlace{lo + from - shift, lo, base})
		}
	}
	if len(e.splits) == 1 {
		e.splits[0].cut(s, word)
		return
	}
	e.cut(s, 0, 0, word)
}

// characterPart is like part, for tokenizers whose symbols are characters.
func (e *encoding) characterPart(n *normalText, lo, hi, base int) {
	m := normalText{text: n.text[lo:hi]}
	if e.characters.space != nil {
		from, _ := n.origin(lo, lo)
		m = e.characters.space.apply(m.text, base+from == 0, e.track)
	}
	e.cut(m.text, 0, 0, func(from, to int) {
		first := len(e.ids)
		e.ids = e.appendWord(e.ids, m.text[from:to], e.words)
		if e.track {
			e.characterSpans(m.text[from:to], e.ids[first:], func(a, b int) Span {
				a, b = m.origin(from+a, from+b)
				a, b = n.origin(lo+a, lo+b)
				return Span{base + a, base + b}
			})
		}
	})
}

// characterSpans appends a span for each id of a word: the characters it was merged from. origin maps bytes of the word
// to the text.
func (e *encoding) characterSpans(w string, ids []int32, origin func(lo, hi int) Span) {
	at := 0
	for _, id := range ids {
		end := at + e.characters.extent(id, e.vocab.tokens[id], w[at:])
		e.spans = append(e.spans, origin(wholeCharacters(w, at, end)))
		at = end
	}
}

// cut applies the split steps, beginning with step, to s, which starts at byte base of its part.
func (e *encoding) cut(s string, base, step int, word func(lo, hi int)) {
	if step == len(e.splits) {
		if len(s) > 0 {
			word(base, base+len(s))
		}
		return
	}
	e.splits[step].cut(s, func(lo, hi int) { e.cut(s[lo:hi], base+lo, step+1, word) })
}

// wordPlace locates a word: its first byte and the first byte of its part in the normalized text, and the offset of the
// latter text in the whole text.
type wordPlace struct{ at, part, base int }

// wordSpans appends a span for each id of a word: the bytes it was merged from.
func (e *encoding) wordSpans(n *normalText, w string, ids []int32, p wordPlace) {
	i := 0
	for _, id := range ids {
		from := -1
		for range len(e.vocab.bytes[id]) {
			for i < len(w) && e.vocab.byteID[w[i]] < 0 {
				i++ // dropped because it has no token
			}
			if from < 0 {
				from = i
			}
			i++
		}
		i = min(i, len(w)) // an added token may have taken the id of a shorter token
		lo, hi := wholeCharacters(n.text, max(p.at+min(from, i), p.part), max(p.at+i, p.part))
		lo, hi = n.origin(lo, hi)
		e.spans = append(e.spans, Span{p.base + lo, p.base + hi})
	}
}

func wholeCharacters(s string, lo, hi int) (int, int) {
	for lo > 0 && lo < len(s) && !utf8.RuneStart(s[lo]) {
		lo--
	}
	for hi < len(s) && !utf8.RuneStart(s[hi]) {
		hi++
	}
	return lo, hi
}
