package format

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a number of bytes, written as 4GiB, 500MB, or a plain number; 0 is written as "".
type Bytes int64

var byteUnits = []struct {
	name  string
	bytes float64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1}, {"", 1},
}

// ParseBytes reads a size such as 4GiB, 1.5 GB, or 1000000.
func ParseBytes(s string) (Bytes, error) {
	for _, u := range byteUnits {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(v >= 0) || v*u.bytes > math.MaxInt64/2 {
			break
		}
		return Bytes(v * u.bytes), nil
	}
	return 0, fmt.Errorf("want a size such as 4GiB or 500MB, got %q", s)
}

// MarshalYAML writes the size in the largest unit that divides it.
func (b Bytes) MarshalYAML() (any, error) {
	if b == 0 {
		return "", nil
	}
	return b.Exact(), nil
}

// Exact returns the size in the largest unit that divides it.
func (b Bytes) Exact() string {
	for _, u := range byteUnits {
		if n := int64(u.bytes); b != 0 && u.name != "" && int64(b)%n == 0 {
			return strconv.FormatInt(int64(b)/n, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// String returns the size rounded to three digits.
func (b Bytes) String() string {
	for _, u := range byteUnits[:4] {
		if x := float64(b) / u.bytes; x >= 1 {
			return strconv.FormatFloat(x, 'f', digitsAfterPoint(x), 64) + " " + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + " B"
}

func digitsAfterPoint(x float64) int {
	switch {
	case x < 10:
		return 2
	case x < 100:
		return 1
	}
	return 0
}
