package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// strftimeNow is datetime.now().strftime(format), as formatted in English by the C library of Linux.
func strftimeNow(r *run, c *callArgs) (Value, error) {
	a, err := c.bind("format")
	if err != nil {
		return nil, err
	}
	format, err := a.text(0, "")
	if err != nil {
		return nil, err
	}
	s, err := strftime(format, r.template.Now())
	if err != nil {
		return nil, err
	}
	return s, r.alloc(len(s))
}

func strftime(format string, t time.Time) (string, error) {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(format, "%")
		b.WriteString(before)
		if !ok {
			return b.String(), nil
		}
		flags := after[:len(after)-len(strings.TrimLeft(after, "-_0^#"))]
		after = after[len(flags):]
		if after == "" {
			return "", unsupported("the date format %" + flags)
		}
		s, ok := dateField(after[0], t)
		if !ok || len(flags) > 1 || strings.ContainsAny(flags, "^#") {
			return "", unsupported("the date format %" + flags + after[:1])
		}
		b.WriteString(withFlag(flags, after[0], s))
		format = after[1:]
	}
}

// withFlag applies the padding that a flag requests: none, spaces, or zeros.
func withFlag(flag string, verb byte, s string) string {
	if flag == "" || strings.IndexByte("CdegGHIjklmMsSuUVwWyY", verb) < 0 {
		return s
	}
	bare := strings.TrimLeft(s, "0 ")
	if bare == "" {
		bare = "0"
	}
	switch flag {
	case "-":
		return bare
	case "_":
		return strings.Repeat(" ", max(len(s)-len(bare), 0)) + bare
	}
	return strings.Repeat("0", max(len(s)-len(bare), 0)) + bare
}

// dateField formats one field. ok is false if there is no such field.
func dateField(verb byte, t time.Time) (s string, ok bool) {
	if layout, ok := dateLayouts[verb]; ok {
		return t.Format(layout), true
	}
	year, week := t.ISOWeek()
	hour12 := (t.Hour()+11)%12 + 1
	switch verb {
	case '%':
		return "%", true
	case 'n':
		return "\n", true
	case 't':
		return "\t", true
	case 'z', 'Z': // datetime.now() has no zone
		return "", true
	case 'w':
		return strconv.Itoa(int(t.Weekday())), true
	case 'u':
		return strconv.Itoa(int(t.Weekday()+6)%7 + 1), true
	case 'j':
		return fmt.Sprintf("%03d", t.YearDay()), true
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000), true
	case 'U':
		return fmt.Sprintf("%02d", (t.YearDay()+6-int(t.Weekday()))/7), true
	case 'W':
		return fmt.Sprintf("%02d", (t.YearDay()+6-int(t.Weekday()+6)%7)/7), true
	case 'V':
		return fmt.Sprintf("%02d", week), true
	case 'G':
		return strconv.Itoa(year), true
	case 'g':
		return fmt.Sprintf("%02d", year%100), true
	case 'C':
		return fmt.Sprintf("%02d", t.Year()/100), true
	case 'k':
		return fmt.Sprintf("%2d", t.Hour()), true
	case 'l':
		return fmt.Sprintf("%2d", hour12), true
	}
	return "", false
}

var dateLayouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'h': "Jan", 'd': "02", 'e': "_2", 'm': "01", 'y': "06", 'Y': "2006",
	'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'P': "pm", 'D': "01/02/06", 'F': "2006-01-02", 'T': "15:04:05",
	'R': "15:04", 'r': "03:04:05 PM", 'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05",
}
