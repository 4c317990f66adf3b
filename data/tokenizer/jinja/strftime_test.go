package jinja

import (
	"testing"
	"time"
)

func TestStrftime(t *testing.T) {
	at := time.Date(2024, time.March, 5, 7, 8, 9, 123456789, time.UTC)
	for format, want := range map[string]string{
		"%d %b %Y": "05 Mar 2024", "%Y-%m-%d": "2024-03-05", "%A, %B %-d": "Tuesday, March 5", "%H:%M:%S": "07:08:09",
		"%I:%M %p": "07:08 AM", "%j %U %W %V %G %u %w": "065 09 10 10 2024 2 2", "%y%%": "24%", "%e|%k|%l": " 5| 7| 7",
		"%c": "Tue Mar  5 07:08:09 2024", "%x %X": "03/05/24 07:08:09", "%D %F %T %R": "03/05/24 2024-03-05 07:08:09 07:08",
		"%f": "123456", "%z%Z": "", "%-m/%-d": "3/5", "%_d": " 5", "%C": "20", "%g": "24", "%h%n%t": "Mar\n\t", "%P": "am", "é": "é",
	} {
		got, err := strftime(format, at)
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", format, got, err, want)
		}
	}
	for _, format := range []string{"%Q", "%", "%^a", "%E"} {
		if got, err := strftime(format, at); err == nil {
			t.Errorf("%q: %q, want an error", format, got)
		}
	}
}

func TestStrftimeNow(t *testing.T) {
	template, err := Parse("chat_template", "{{ strftime_now('%d %b %Y') if strftime_now is defined }}")
	if err != nil {
		t.Fatal(err)
	}
	template.Now = func() time.Time { return time.Date(2024, time.March, 5, 7, 8, 9, 0, time.UTC) }
	r, err := template.Render(t.Context(), nil)
	if err != nil || r.Text != "05 Mar 2024" {
		t.Errorf("%+v, %v", r, err)
	}
	if !template.Mentions("strftime_now") || template.Mentions("messages") {
		t.Error("Mentions is wrong")
	}
}
