package cli

import (
	"encoding/json"
	"math"
)

// Finite is a number that becomes null in JSON if it is infinite or NaN, which JSON cannot represent.
type Finite float64

// MarshalJSON implements [json.Marshaler].
func (x Finite) MarshalJSON() ([]byte, error) {
	if v := float64(x); math.IsNaN(v) || math.IsInf(v, 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(x))
}
