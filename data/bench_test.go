package data

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"mambatrain/data/source"
	"mambatrain/internal/testfile"
)

// pseudoText generates texts of about 500 bytes from a made-up vocabulary of 20,000 words, of which the frequent ones
// are short.
type pseudoText struct {
	r     *rand.Rand
	words []string
	zipf  *rand.Zipf
}

func newPseudoText(seed uint64) *pseudoText {
	p := &pseudoText{r: rand.New(rand.NewPCG(seed, 0))}
	syllables := strings.Fields("an be co da el fi go ha in ju ka lo me ni or pa qui ra se ti un ve wi xo ya zu st er ing tion")
	for i := range 20000 {
		var w strings.Builder
		for range 1 + i/7000 + p.r.IntN(3) {
			w.WriteString(syllables[p.r.IntN(len(syllables))])
		}
		p.words = append(p.words, w.String())
	}
	p.zipf = rand.NewZipf(p.r, 1.1, 4, uint64(len(p.words)-1))
	return p
}

func (p *pseudoText) next() string {
	var b strings.Builder
	for b.Len() < 500 {
		b.WriteString(p.words[p.zipf.Uint64()])
		b.WriteString([]string{" ", " ", " ", ", ", ". ", " 1984 "}[p.r.IntN(6)])
	}
	return b.String()
}

// writePseudoParquet writes a file with size bytes of text in row groups of about 64 MB, as the datasets library does.
func writePseudoParquet(b testing.TB, path string, size int) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil)
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	properties := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy), parquet.WithDictionaryDefault(false))
	w, err := pqarrow.NewFileWriter(schema, f, properties, pqarrow.DefaultWriterProps())
	if err != nil {
		b.Fatal(err)
	}
	text := newPseudoText(1)
	rows := array.NewStringBuilder(memory.DefaultAllocator)
	for done := 0; done < size; {
		for group := 0; group < 64<<20 && done < size; {
			s := text.next()
			rows.Append(s)
			group, done = group+len(s), done+len(s)
		}
		column := rows.NewArray()
		record := array.NewRecord(schema, []arrow.Array{column}, int64(column.Len()))
		if err := w.Write(record); err != nil {
			b.Fatal(err)
		}
		record.Release()
		column.Release()
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}

// peakRSS returns the peak memory of the process in bytes, or 0 if the system does not report it.
func peakRSS() (bytes float64) {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmHWM:") {
			fmt.Sscanf(line, "VmHWM: %f", &bytes)
		}
	}
	return bytes * 1024
}

// resetPeak resets peakRSS.
func resetPeak() {
	debug.FreeOSMemory()
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// cpuSeconds returns the processor time used by the process, or 0 if the system does not report it.
func cpuSeconds() float64 {
	stat, _ := os.ReadFile("/proc/self/stat")
	_, rest, _ := strings.Cut(string(stat), ") ")
	if fields := strings.Fields(rest); len(fields) > 12 {
		var user, system float64
		fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
		return (user + system) / 100 // ticks of 10 ms
	}
	return 0
}

func BenchmarkTokenize128MB(b *testing.B) { benchmarkTokenize(b, 128<<20) }
func BenchmarkTokenize1GB(b *testing.B)   { benchmarkTokenize(b, 1<<30) }

// benchmarkTokenize tokenizes a Parquet file with size bytes of text, for training and into another file. It reports
// text per second of processor time and peak memory.
func benchmarkTokenize(b *testing.B, size int) {
	path := tinyPath
	if dir := os.Getenv(testfile.Env); dir != "" {
		path = filepath.Join(dir, "tokenizers/gpt_neox_20b_tokenizer.json")
	}
	tok := loadTokenizer(b, path)
	path = filepath.Join(b.TempDir(), "gigabyte.parquet")
	writePseudoParquet(b, path, size)
	o := Default()
	for _, way := range []string{"open", "write"} {
		b.Run(way, func(b *testing.B) {
			for b.Loop() {
				resetPeak()
				start := cpuSeconds()
				if way == "open" {
					d, err := Open(b.Context(), []source.Input{{Path: path}}, tok, o)
					if err != nil {
						b.Fatal(err)
					}
					d.Close()
				} else if _, err := WriteTokens(b.Context(), []source.Input{{Path: path}}, tok, o, filepath.Join(b.TempDir(), "out.parquet")); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(size)/1e6/(cpuSeconds()-start), "MB/cpu-s")
				b.ReportMetric(peakRSS()/1e6, "peak-MB")
			}
		})
	}
}

// BenchmarkBatch makes a micro-batch of eight documents, which each step waits for without read-ahead.
func BenchmarkBatch(b *testing.B) {
	d := open(b, idRowsFile(b, 2000), nil, Default())
	l, err := d.Loader(8, 1)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		l.At(0, i%l.Total())
	}
}

// BenchmarkOpenQuotes reads and tokenizes the 2,123 quotes, which a run waits for before its first step.
func BenchmarkOpenQuotes(b *testing.B) {
	tok := loadTokenizer(b, testfile.Shared(b, "tokenizers/gpt_neox_20b_tokenizer.json"))
	o := Default()
	o.Template = "{{.quote}} — {{.author}}"
	path := testfile.Shared(b, "english_quotes/train-00000-of-00001.parquet")
	for b.Loop() {
		d, err := Open(b.Context(), []source.Input{{Path: path}}, tok, o)
		if err != nil {
			b.Fatal(err)
		}
		d.Close()
	}
}
