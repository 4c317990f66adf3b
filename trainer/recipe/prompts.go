package recipe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"mambatrain/data/source"
	"mambatrain/internal/fault"
	"mambatrain/internal/inputfile"
)

// promptColumn is the name of the column with texts to continue.
const promptColumn = "prompt"

// ReadPrompts reads texts to continue from a file: the prompt column of JSON, JSON lines, CSV, Parquet, and Arrow
// files. Other files are parsed by [ParsePrompts].
func ReadPrompts(ctx context.Context, path string, c source.Config) ([]string, error) {
	switch filepath.Ext(strings.TrimSuffix(strings.ToLower(path), ".gz")) {
	case ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather", ".ipc":
	default:
		b, err := inputfile.ReadAny(ctx, path, inputfile.MaxPrompts)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.NotFound("prompts %s: no such file", path)
		}
		if err != nil {
			return nil, err
		}
		prompts, err := ParsePrompts(b)
		if err != nil {
			return nil, fmt.Errorf("prompts %s: %w", path, err)
		}
		return prompts, nil
	}
	var prompts []string
	for row, err := range source.Rows(ctx, Sources{{Path: path, Weight: 1}}, c) {
		if err != nil {
			return nil, err
		}
		text, err := promptOf(row)
		if err != nil {
			return nil, fmt.Errorf("prompts %s: row %d: %w", path, len(prompts), err)
		}
		prompts = append(prompts, text)
	}
	if len(prompts) == 0 {
		return nil, fault.NotFound("prompts %s: contains no prompts", path)
	}
	return prompts, nil
}

// ParsePrompts parses texts to continue, one per line; an empty line is an empty prompt. If the first line is a JSON
// object with a prompt, all other lines must be, too.
func ParsePrompts(b []byte) (prompts []string, err error) {
	b = bytes.TrimPrefix(b, []byte("\xEF\xBB\xBF"))
	number, rows := 0, false
	for line := range bytes.Lines(b) {
		number++
		if line = bytes.TrimRight(line, "\r\n"); !utf8.Valid(line) {
			return nil, fmt.Errorf("line %d: is not UTF-8", number)
		}
		text := string(line)
		var row map[string]any
		switch {
		case number == 1 && bytes.HasPrefix(line, []byte("{")):
			if json.Unmarshal(line, &row) == nil {
				_, rows = row[promptColumn].(string)
			}
		case rows:
			if strings.TrimSpace(text) == "" {
				continue
			}
			if err := json.Unmarshal(line, &row); err != nil {
				return nil, fmt.Errorf("line %d: want an object with a prompt, as in line 1: %w", number, err)
			}
		}
		if rows {
			if text, err = promptOf(row); err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
		}
		prompts = append(prompts, text)
	}
	if len(prompts) == 0 {
		return nil, fault.NotFound("the file contains no prompts")
	}
	return prompts, nil
}

// promptOf returns the prompt of a row.
func promptOf(row map[string]any) (string, error) {
	value, ok := row[promptColumn]
	text, isText := value.(string)
	switch {
	case !ok:
		return "", fault.NotFound("no column %q; columns: %s", promptColumn, strings.Join(slices.Sorted(maps.Keys(row)), ", "))
	case !isText:
		return "", fmt.Errorf("%s: want a string, got %s; use --messages for conversations", promptColumn, source.KindOf(value))
	}
	return text, nil
}
