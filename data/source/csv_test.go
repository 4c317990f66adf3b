package source

import (
	"strings"
	"testing"

	"mambatrain/internal/testfile"
)

// The expected values are those of pandas 3.1. NULL represents a missing field.
func TestCSV(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"a quote within a field", "text,author\nHe said \"hello\" to me,Ann\nA 5\" pipe,Bob\n", `text=He said "hello" to me,author=Ann|text=A 5" pipe,author=Bob`},
		{"text after a closing quote", "text\n\"a\"b\"c\"\n", `text=ab"c"`},
		{"a doubled quote", "text\n\"a \"\"b\"\"\"\n", `text=a "b"`},
		{"a blank before a quote", "text,x\n \"a\",1\n", `text= "a",x=1`},
		{"columns without names", "text,,\nA friend,,\n", "text=A friend,Unnamed: 1=,Unnamed: 2="},
		{"an index column", ",text\n0,a\n1,b\n", "text=a,Unnamed: 0=0|text=b,Unnamed: 0=1"},
		{"short rows", "text,author\nA friend\nB,Bob\n", "text=A friend,author=NULL|text=B,author=Bob"},
		{"CR only", "text,author\rA friend,Ann\rB,Bob\r", "text=A friend,author=Ann|text=B,author=Bob"},
		{"mixed line ends", "text\na\r\nb\rc\n\n\r\nd", "text=a|text=b|text=c|text=d"},
		{"line ends in quotes", "text\n\"a\r\nb\rc\nd\"\n", "text=a\r\nb\rc\nd"},
		{"blank lines", "\n \t\ntext,x\n  \na,1\n\n", "text=a,x=1"},
		{"a mark", "\xEF\xBB\xBF\"text\",x\na,1\n", "text=a,x=1"},
		{"no line end", "text,x\na,", "text=a,x="},
		{"an empty field in quotes", "text\n\"\"\na\n", "text=|text=a"},
		{"nothing but a header", "text,x\n", ""},
		{"names that are taken", "a,b,a,b.1,b\n1,2,3,4,5\n", "b.1=4"},
	} {
		names := strings.Split("text,author,x,Unnamed: 0,Unnamed: 1,Unnamed: 2,b.1", ",")
		if got := textsOf(t, testfile.Write(t, "a.csv", c.content), Config{}, names); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// textsOf returns the values of some columns, which may be missing, in the first block of a file.
func textsOf(t *testing.T, path string, c Config, names []string) string {
	t.Helper()
	f, err := c.file(path, selection{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Project(names)
	b, err := r.Next(t.Context())
	if err != nil {
		return ""
	}
	defer b.Release()
	var rows []string
	for i := range b.Rows {
		var values []string
		for _, name := range names {
			if c, ok := b.Columns[name]; ok {
				s, ok, _ := c.Text(i)
				if !ok {
					s = "NULL"
				}
				values = append(values, name+"="+s)
			}
		}
		rows = append(rows, strings.Join(values, ","))
	}
	return strings.Join(rows, "|")
}

func TestCSV_delimiters(t *testing.T) {
	for _, c := range []struct{ file, content, delimiter, want string }{
		{"a.csv", "text;author\nA, friend;Ann\nB;\"x;y\"\n", "", "text=A, friend,author=Ann|text=B,author=x;y"},
		{"a.csv", "text\tauthor\nA friend\tAnn\n", "", "text=A friend,author=Ann"},
		{"a.csv", "text|author\nA friend|Ann\n", "", "text=A friend,author=Ann"},
		{"a.csv", "author;text\nAnn;A", "", "text=A,author=Ann"},
		{"a.csv", "text\na;b\nc\n", "", "text=a;b|text=c"}, // the header has one column
		{"a.csv", "text,x;y\na,b\n", "", "text=a"},
		{"a.csv", "text;author\na;b\nc\n", ";", "text=a,author=b|text=c,author=NULL"},
		{"a.csv", "text\tauthor\na;b\tc\n", `\t`, "text=a;b,author=c"},
		{"a.csv", "text§author\na§b\n", "§", "text=a,author=b"},
		{"a.csv", "text,author\na;b,c\n", ";", ""},
		{"a.tsv", "text\tauthor\na,b\tc\n", "", "text=a,b,author=c"},
		{"a.csv", "text author\na b\n", " ", "text=a,author=b"},
	} {
		if got := textsOf(t, testfile.Write(t, c.file, c.content), Config{CSVDelimiter: c.delimiter}, []string{"text", "author"}); got != c.want {
			t.Errorf("%q: %q, want %q", c.content, got, c.want)
		}
	}
	c := Config{Format: "auto", Encoding: "utf-8", MaxRowBytes: 1}
	for _, bad := range []string{";;", `"`, "\n"} {
		c.CSVDelimiter = bad
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "csv_delimiter") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestCSV_faults(t *testing.T) {
	for content, want := range map[string]string{
		"text\n\"a\nb\n":           "line 2: unterminated quoted field",
		"text,x\na,b\n\"c\n\",d,e": "line 3: 3 fields, but the header has 2 columns",
		"text,x\na,b,\n":           "line 2: 3 fields",
		"text,id,text\na,1,b\n":    `the header contains the column "text" twice`,
		"\n\n":                     "the file is empty, want a header line",
		strings.Repeat(",", 1<<17): "line 1: more than 65,536 fields",
	} {
		_, _, err := read(t, testfile.Write(t, "a.csv", content), Config{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", content, err, want)
		}
	}
	err := NoColumn("a.csv", "text", []string{"id,x;text"})
	if !strings.Contains(err.Error(), "set data.csv_delimiter") {
		t.Errorf("a wrong delimiter: %v", err)
	}
}
