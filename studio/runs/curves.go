package runs

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strings"

	"mambatrain/trainer/checkpoint"
)

const (
	maxOpen   = 16 // runs whose curves are in memory
	maxSeries = 64 // per run
	maxMarks  = 2000
)

// Curves is the history of a run, prepared for plotting.
type Curves struct {
	Rows     int                `json:"rows"` // in the history
	Version  int                `json:"version"`
	Names    []string           `json:"names"` // metrics, in order of first appearance
	Series   map[string]*Series `json:"series"`
	Eval     []float64          `json:"evaluations"` // steps of at most the last maxMarks evaluations
	Resumes  []int              `json:"resumes"`
	BestStep int                `json:"best_step"`
}

// follower reads a history once and then only the lines that are appended to it.
type follower struct {
	curves  Curves
	file    fs.FileInfo // the file that was read
	offset  int64       // end of the part of the journal that has been read
	tokens  float64     // as of the last training row
	seconds float64     // training time up to that row
}

func newFollower() *follower {
	return &follower{curves: Curves{Series: map[string]*Series{}}}
}

// Curves returns the history of a run, up to the last row written.
func (l *Library) Curves(id string) (Curves, error) {
	r, err := l.find(id)
	if err != nil {
		return Curves{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.follow(r); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Curves{}, err
	}
	return r.curves.snapshot(r), nil
}

// snapshot copies the parts that change while the run continues.
func (f *follower) snapshot(r *run) Curves {
	c := f.curves
	c.Names = append([]string{}, c.Names...) // never nil, so that JSON has a list
	c.Eval = slices.Clone(c.Eval)
	c.Series = map[string]*Series{}
	for name, s := range f.curves.Series {
		c.Series[name] = &Series{s.size, slices.Clone(s.buckets)}
	}
	c.BestStep = r.head.BestStep
	for _, s := range r.facts.Sessions {
		if s.Step > 0 && !slices.Contains(c.Resumes, s.Step) {
			c.Resumes = append(c.Resumes, s.Step)
		}
	}
	return c
}

// follow brings the curves of a run up to date.
func (l *Library) follow(r *run) error {
	l.opened = append(slices.DeleteFunc(l.opened, func(o *run) bool { return o == r }), r)
	if len(l.opened) > maxOpen {
		l.opened[0].curves = nil
		l.opened = l.opened[1:]
	}
	if r.curves == nil {
		r.curves = newFollower()
	}
	f, info, err := r.open(checkpoint.JournalFile)
	if errors.Is(err, fs.ErrNotExist) {
		return r.followState()
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return r.curves.followJournal(f, info)
}

// followState reads a history that has no journal, from the start whenever the file has changed.
func (r *run) followState() error {
	f, info, err := r.open(r.stateFile())
	if err != nil {
		return err
	}
	defer f.Close()
	if old := r.curves.file; old != nil && os.SameFile(old, info) && old.Size() == info.Size() && old.ModTime().Equal(info.ModTime()) {
		return nil
	}
	r.curves.restart(info)
	return scanState(f, func(string, []byte) {}, r.curves.add)
}

// restart discards a history that has been replaced.
func (f *follower) restart(info fs.FileInfo) {
	version := f.curves.Version
	*f = *newFollower()
	f.file, f.curves.Version = info, version+1
}

// followJournal reads the complete lines that have been appended. A run that resumes replaces its journal.
func (f *follower) followJournal(file *os.File, info fs.FileInfo) error {
	if f.file == nil || !os.SameFile(f.file, info) || info.Size() < f.offset {
		f.restart(info)
	}
	in := bufio.NewReaderSize(io.NewSectionReader(file, f.offset, info.Size()-f.offset), maxRow)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err == nil:
			f.add(bytes.TrimRight(line, "\r\n"))
		case errors.Is(err, bufio.ErrBufferFull): // longer than any row of a run
		case errors.Is(err, io.EOF):
			return nil // the incomplete line is read next time
		default:
			return err
		}
		f.offset += int64(len(line))
	}
}

// add reads a row and ignores lines that are not rows.
func (f *follower) add(b []byte) {
	row, ok := parseRow(b)
	if !ok {
		return
	}
	f.curves.Rows++
	f.advance(row)
	at := point{Step: row["step"], Tokens: f.tokens, Seconds: f.seconds}
	if f.tokens == 0 {
		at.Tokens, at.Seconds = math.NaN(), math.NaN()
	}
	evaluation := false
	for _, key := range slices.Sorted(maps.Keys(row)) {
		evaluation = evaluation || strings.HasPrefix(key, checkpoint.EvalPrefix)
		if s := f.series(key); s != nil {
			at.Value = row[key]
			s.add(at)
		}
	}
	if evaluation {
		f.curves.Eval = append(f.curves.Eval, at.Step)
		if n := len(f.curves.Eval); n > maxMarks {
			f.curves.Eval = slices.Clone(f.curves.Eval[n-maxMarks/2:])
		}
	}
}

// advance accumulates tokens and training time. Rows have no timestamp, but they have tokens and tokens per second.
func (f *follower) advance(row checkpoint.Row) {
	tokens, speed := row["num_tokens"], row["tokens_per_second"]
	if tokens == 0 {
		tokens = row["num_input_tokens_seen"]
	}
	if tokens > f.tokens && speed > 0 {
		f.seconds += (tokens - f.tokens) / speed
	}
	f.tokens = max(f.tokens, tokens)
}

// notSeries are the keys of rows that are not plotted.
var notSeries = []string{"step", "epoch", "num_tokens", "num_input_tokens_seen", "total_flos"}

// series returns the series of a key, or nil if the key is not plotted.
func (f *follower) series(key string) *Series {
	if s := f.curves.Series[key]; s != nil {
		return s
	}
	if slices.Contains(notSeries, key) || strings.HasPrefix(key, "train_") || len(f.curves.Names) == maxSeries {
		return nil
	}
	f.curves.Names = append(f.curves.Names, key)
	f.curves.Series[key] = &Series{}
	return f.curves.Series[key]
}
