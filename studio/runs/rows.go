package runs

import (
	"bytes"
	"io"
	"slices"
	"strconv"
	"strings"

	"mambatrain/internal/pyjson"
	"mambatrain/trainer/checkpoint"
)

const (
	evalLoss = checkpoint.EvalPrefix + "loss"
	maxRow   = 1 << 16 // bytes per row; longer rows are skipped
	space    = " \t\r\n"
	lastRows = 24 // rows used for a summary
)

// evalLossOf returns the key of a row's evaluation loss, or "" if the row has no such loss. Of the losses on several named
// sets, it is the first in alphabetical order.
func evalLossOf(row checkpoint.Row) string {
	if _, ok := row[evalLoss]; ok {
		return evalLoss
	}
	first := ""
	for key := range row {
		if isEvalLoss(key) && (first == "" || key < first) {
			first = key
		}
	}
	return first
}

// isEvalLoss reports whether key is the loss on an evaluation set.
func isEvalLoss(key string) bool {
	return strings.HasPrefix(key, checkpoint.EvalPrefix) && strings.HasSuffix(key, "_loss")
}

// parseRow parses a JSON object. It returns false if b is not one.
func parseRow(b []byte) (checkpoint.Row, bool) {
	if row := parsePlain(b); row != nil {
		return row, true
	}
	var row checkpoint.Row
	if pyjson.Unmarshal(b, &row) != nil || row == nil {
		return nil, false
	}
	return row, true
}

// parsePlain parses an object that contains only plain numbers, as this program writes it, many times faster than
// encoding/json. It returns nil if the object contains anything else.
func parsePlain(b []byte) checkpoint.Row {
	b, ok := bytes.CutPrefix(b, []byte{'{'})
	row := checkpoint.Row{}
	for ok {
		var key, value []byte
		if b, ok = bytes.CutPrefix(bytes.TrimLeft(b, space), []byte{'"'}); !ok {
			return nil
		}
		if key, b, ok = bytes.Cut(b, []byte(`":`)); !ok || bytes.ContainsAny(key, `"\`) {
			return nil
		}
		b = bytes.TrimLeft(b, space)
		n := bytes.IndexAny(b, ",}")
		if n < 1 || b[0] < '0' && b[0] != '-' || b[0] > '9' {
			return nil
		}
		value = bytes.TrimRight(b[:n], space)
		x, err := strconv.ParseFloat(string(value), 64)
		if err != nil {
			return nil
		}
		row[string(key)] = x
		if b[n] == '}' {
			if len(bytes.TrimLeft(b[n+1:], space)) > 0 {
				return nil
			}
			return row
		}
		b = b[n+1:]
	}
	return nil
}

// keepLast appends a row and drops the oldest one if there are more than a summary needs, but never the last evaluation.
func keepLast(rows []checkpoint.Row, row checkpoint.Row) []checkpoint.Row {
	rows = append(rows, row)
	if len(rows) <= lastRows {
		return rows
	}
	drop := 0
	if isEvaluation(rows[0]) && !slices.ContainsFunc(rows[1:], isEvaluation) {
		drop = 1
	}
	return slices.Delete(rows, drop, drop+1)
}

func isEvaluation(row checkpoint.Row) bool { return evalLossOf(row) != "" }

// lastRows reads the end of the journal. It skips incomplete and damaged lines. If there is no evaluation at the end, the
// last one in earlier, the rows of the state, comes first.
func (r *run) lastRows(earlier []checkpoint.Row) ([]checkpoint.Row, error) {
	const tail = 1 << 16
	f, info, err := r.open(checkpoint.JournalFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	at := max(0, info.Size()-tail)
	b, err := io.ReadAll(io.LimitReader(io.NewSectionReader(f, at, tail), tail))
	if err != nil {
		return nil, err
	}
	if at > 0 {
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	lines := bytes.Split(b, []byte("\n"))
	lines = lines[:len(lines)-1]
	var rows []checkpoint.Row
	for _, line := range lines {
		if row, ok := parseRow(line); ok {
			rows = keepLast(rows, row)
		}
	}
	if !slices.ContainsFunc(rows, isEvaluation) && len(rows) > 0 {
		before := func(row checkpoint.Row) bool { return isEvaluation(row) && row["step"] <= rows[0]["step"] }
		if i := slices.IndexFunc(earlier, before); i >= 0 {
			rows = slices.Insert(rows, 0, earlier[i])
		}
	}
	return rows, nil
}
