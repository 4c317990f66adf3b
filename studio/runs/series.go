package runs

import (
	"encoding/json"
	"math"
	"strconv"
)

// point is the value of a metric and where it was measured. Tokens and Seconds are NaN if the run does not record them.
type point struct{ Step, Tokens, Seconds, Value float64 }

// maxBuckets limits the memory of a series and the number of points that a page draws.
const maxBuckets = 1000

// Series contains the values of a metric over a run. Up to maxBuckets points are stored unchanged. In a longer series,
// each bucket of neighboring points stores only the lowest and the highest, so that no spike is lost. The bucket size
// doubles whenever there are too many buckets.
type Series struct {
	size    int // points in a full bucket
	buckets []bucket
}

type bucket struct {
	points        int
	first, second point // the lowest and the highest, in order of time
}

func (b *bucket) add(p point) {
	low, high := b.first, b.second
	if high.Value < low.Value {
		low, high = high, low
	}
	switch {
	case math.IsNaN(p.Value) || math.IsNaN(low.Value): // values that are not finite are kept
		low, high = p, p
		if math.IsNaN(b.first.Value) {
			low, high = b.first, b.first
		}
	case p.Value < low.Value:
		low = p
	case p.Value > high.Value:
		high = p
	}
	b.first, b.second = low, high
	if high.Step < low.Step {
		b.first, b.second = high, low
	}
}

// add appends a point.
func (s *Series) add(p point) {
	s.size = max(1, s.size)
	if n := len(s.buckets); n > 0 && s.buckets[n-1].points < s.size {
		s.buckets[n-1].add(p)
		s.buckets[n-1].points++
		return
	}
	if len(s.buckets) == maxBuckets {
		s.halve()
	}
	s.buckets = append(s.buckets, bucket{1, p, p})
}

// halve merges pairs of neighboring buckets.
func (s *Series) halve() {
	for i := range maxBuckets / 2 {
		b := s.buckets[2*i]
		other := s.buckets[2*i+1]
		b.add(other.first)
		b.add(other.second)
		b.points += other.points
		s.buckets[i] = b
	}
	s.buckets = s.buckets[:maxBuckets/2]
	s.size *= 2
}

// points returns the stored points in order.
func (s *Series) points() []point {
	list := make([]point, 0, 2*len(s.buckets))
	for _, b := range s.buckets {
		list = append(list, b.first)
		if b.second != b.first && b.points > 1 {
			list = append(list, b.second)
		}
	}
	return list
}

// MarshalJSON writes the points as columns. Values that JSON cannot represent become null.
func (s *Series) MarshalJSON() ([]byte, error) {
	list := s.points()
	columns := struct {
		Step    column `json:"step"`
		Tokens  column `json:"tokens"`
		Seconds column `json:"seconds"`
		Value   column `json:"value"`
	}{}
	for _, p := range list {
		columns.Step = append(columns.Step, p.Step)
		columns.Tokens = append(columns.Tokens, p.Tokens)
		columns.Seconds = append(columns.Seconds, p.Seconds)
		columns.Value = append(columns.Value, p.Value)
	}
	return json.Marshal(columns)
}

type column []float64

func (c column) MarshalJSON() ([]byte, error) {
	b := []byte{'['}
	for i, v := range c {
		if i > 0 {
			b = append(b, ',')
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			b = append(b, "null"...)
		} else {
			const digits = 7 // more than a plot can show
			b = strconv.AppendFloat(b, v, 'g', digits, 64)
		}
	}
	return append(b, ']'), nil
}
