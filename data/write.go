package data

import (
	"context"
	"errors"
	"fmt"
	"io"

	"mambatrain/data/source"
	"mambatrain/data/tokenizer"
	"mambatrain/internal/atomicfile"
)

// WriteTokens tokenizes the inputs into a .jsonl or .parquet file with the column input_ids, and labels if the settings
// mask any. There is one row for each source row, in order, with an empty list for an empty row. Nothing is cut or
// dropped: max_length and truncation are ignored. The file is written atomically, as described at
// [atomicfile.WriteOutput].
func WriteTokens(ctx context.Context, inputs []source.Input, tok *tokenizer.Tokenizer, c Config, output string) (Stats, error) {
	if err := c.check(); err != nil {
		return Stats{}, err
	}
	sets, err := source.Resolve(ctx, inputs, c.Config)
	if err != nil {
		return Stats{}, err
	}
	if err := source.CheckOutput(sets, output); err != nil {
		return Stats{}, err
	}
	var stats Stats
	var failed error
	err = atomicfile.WriteOutput(output, func(w io.Writer) error {
		stats, failed = writeTokens(ctx, sets, tok, &c, w, output)
		return failed
	})
	if err != nil && failed == nil {
		err = fmt.Errorf("data: %w", err)
	}
	return stats, err
}

func writeTokens(ctx context.Context, inputs []source.FileSet, tok *tokenizer.Tokenizer, c *Config, file io.Writer, name string) (Stats, error) {
	out, err := source.NewTokenWriter(file, name)
	if err != nil {
		return Stats{}, err
	}
	stats, j := Stats{MaxToken: -1}, new(joints)
	for _, in := range inputs {
		p := pipeline{files: in.Files, tok: tok, config: c, rows: c.MaxTrainSamples, all: true, joints: j}
		err := p.run(ctx, func(t *source.Tokens, s Stats) error {
			stats.add(s)
			if err := out.Write(t); err != nil {
				return fmt.Errorf("data: %s: %w", name, err)
			}
			return nil
		})
		if err != nil {
			return stats, errors.Join(err, out.Close())
		}
		j.endSource()
	}
	j.report(c.Warn)
	if err := out.Close(); err != nil {
		return stats, fmt.Errorf("data: %s: %w", name, err)
	}
	return stats, nil
}
