package runs

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"

	"mambatrain/trainer"
	"mambatrain/trainer/checkpoint"
)

const (
	maxSamples     = 2000    // returned to a page
	maxSampleBytes = 4 << 20 // read from the end of the file
)

// Samples returns the texts that a run has generated at its evaluations, in order. If there are too many, it returns the
// last ones.
func (l *Library) Samples(id string) ([]trainer.Sample, error) {
	r, err := l.find(id)
	if err != nil {
		return nil, err
	}
	f, info, err := r.open(checkpoint.SamplesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return []trainer.Sample{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	at := max(0, info.Size()-maxSampleBytes)
	in := bufio.NewReader(io.NewSectionReader(f, at, maxSampleBytes))
	if at > 0 {
		in.ReadBytes('\n')
	}
	list := []trainer.Sample{}
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return list[max(0, len(list)-maxSamples):], nil
		}
		var s trainer.Sample
		if json.Unmarshal(line, &s) == nil {
			list = append(list, s)
		}
	}
}
