package weights

import (
	"context"
	"math"

	"mambatrain/autograd/kernel"
)

// NotFinite returns the names of tensors with NaN or infinite elements, in alphabetical order. It skips integer
// tensors.
func (r *Reader) NotFinite(ctx context.Context) (names []string, err error) {
	for _, name := range r.Names() {
		x := r.byName[name]
		if x.floating() != nil {
			continue
		}
		finite := true
		err := x.Pieces(func(v []float32) { finite = finite && kernel.AllFinite(v) })
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		if !finite {
			names = append(names, name)
		}
	}
	return names, nil
}

// Watch returns entries that call report with the name of each tensor that will have NaN or infinite elements in the
// file, when its values are read. Such a value may have been finite before but too large for float16.
func Watch(entries []Entry, report func(name string)) []Entry {
	list := make([]Entry, len(entries))
	for i, e := range entries {
		list[i] = e
		list[i].Values = func() (any, error) {
			v, err := e.Values()
			if err == nil && !staysFinite(v, e.DType) {
				report(e.Name)
			}
			return v, err
		}
	}
	return list
}

// staysFinite reports whether values are finite and remain so when converted to type as.
func staysFinite(v any, as DType) bool {
	switch v := v.(type) {
	case []float32:
		return kernel.AllFinite(v) && (as != F16 || !beyondFloat16(v))
	case []uint16:
		wide := make([]float32, len(v))
		kernel.WidenBF16(wide, v)
		return staysFinite(wide, as)
	}
	return true
}

// beyondFloat16 reports whether any element rounds to infinity in float16.
func beyondFloat16(v []float32) bool {
	const least = 65520 // halfway between the largest float16 and the next power of two
	for _, x := range v {
		if math.Abs(float64(x)) >= least {
			return true
		}
	}
	return false
}
