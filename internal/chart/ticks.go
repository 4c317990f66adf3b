package chart

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"

	"mambatrain/internal/format"
)

// Ticks places ticks at multiples of 1, 2, or 5 times a power of ten, for any finite range.
type Ticks struct {
	Whole bool // the axis shows counts: no fractions
}

// Ticks implements [plot.Ticker].
func (t Ticks) Ticks(low, high float64) (ticks []plot.Tick) {
	step := t.step(low, high)
	for i := math.Ceil(low / step); len(ticks) <= maxTicks; i++ {
		v := i * step
		if !(v <= high) { // also stops at infinity
			break
		}
		ticks = append(ticks, plot.Tick{Value: v, Label: tickLabel(v, step, math.Max(math.Abs(low), math.Abs(high)))})
	}
	return ticks
}

const maxTicks = 8

func (t Ticks) step(low, high float64) float64 {
	if step := roundStep(low, high, maxTicks); !t.Whole || step > 1 {
		return step
	}
	return 1
}

// roundStep returns the smallest round step that divides a range into at most the given number of parts.
func roundStep(low, high, parts float64) float64 {
	rough := high/parts - low/parts // high − low may overflow
	power := math.Pow(10, math.Floor(math.Log10(rough)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= rough {
			return m * power
		}
	}
	return 10 * power
}

// tickLabel formats a multiple of step on an axis whose values go up to largest.
func tickLabel(v, step, largest float64) string {
	digits := int(math.Floor(math.Log10(step) + 1e-9)) // position of the step's first digit: -2 for hundredths
	switch {
	case v == 0:
		return "0"
	case digits >= 0 && largest < 1e9:
		return format.Count(int(v))
	case digits >= -4 && digits < 0 && largest < 1e6:
		return strconv.FormatFloat(v, 'f', -digits, 64)
	}
	precision := int(math.Floor(math.Log10(math.Abs(v))+1e-9)) - digits
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', max(0, precision), 64), "e")
	n, _ := strconv.Atoi(exponent)
	if strings.Contains(mantissa, ".") {
		mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	}
	return fmt.Sprintf("%se%d", mantissa, n)
}

// setRange makes an axis start and end at a tick, even if it has no values, one value, or values that hardly differ.
func setRange(a *plot.Axis) {
	if a.Min > a.Max { // no values
		a.Min, a.Max = 0, 1
	}
	t, _ := a.Tick.Marker.(Ticks)
	size := math.Max(math.Abs(a.Min), math.Abs(a.Max))
	if a.Max/2-a.Min/2 <= 1e-6*size {
		by := size / 10
		if t.Whole || by < 1e-300 {
			by = math.Max(by, 1)
		}
		a.Min, a.Max = math.Max(a.Min-by, -math.MaxFloat64), math.Min(a.Max+by, math.MaxFloat64)
	}
	step := t.step(a.Min, a.Max)
	low, high := math.Floor(a.Min/step)*step, math.Ceil(a.Max/step)*step
	if !math.IsInf(low, 0) && !math.IsInf(high, 0) {
		a.Min, a.Max = low, high
	}
}

// linear is like [plot.LinearScale], for ranges of any size.
type linear struct{}

func (linear) Normalize(low, high, x float64) float64 { return (x/2 - low/2) / (high/2 - low/2) }
