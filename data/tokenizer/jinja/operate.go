package jinja

import (
	"math"
	"math/big"
	"math/bits"
	"slices"
)

// Arithmetic follows Python: dividing integers gives a float, // and % round down, and strings and lists can be added
// and repeated. Integers have 64 bits here, and overflow is an error.

func badOperands(op kind, a, b Value) error {
	for _, v := range []Value{a, b} {
		switch v := v.(type) {
		case *view:
			if op == "-" {
				return unsupported("the difference of sets")
			}
		case *undefined:
			return v
		case integer:
			return errBigInteger
		}
	}
	return typeError("unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
}

var (
	errBigInteger  = typeError("an integer needs more than 64 bits")
	errZeroDivisor = typeError("division by zero")
)

// signed evaluates +v or -v.
func signed(op kind, v Value) (Value, error) {
	switch n := v.(type) {
	case float64:
		if op == "-" {
			return -n, nil
		}
		return n, nil
	case *undefined:
		return nil, n
	}
	n, ok := asInt(v)
	switch {
	case !ok:
		return nil, typeError("bad operand type for unary %s: '%s'", op, typeName(v))
	case op == "-" && n == math.MinInt:
		return nil, errBigInteger
	case op == "-":
		return -n, nil
	}
	return n, nil
}

func (r *run) operate(op kind, a, b Value) (Value, error) {
	if n, ok := asFloat(b); ok && op == "**" { // computed by multiplication
		if n = math.Abs(n); !(n < largestExponent) {
			n = largestExponent
		}
		if err := r.step(int(n)); err != nil {
			return nil, err
		}
	}
	x, xInt := asInt(a)
	y, yInt := asInt(b)
	if xInt && yInt {
		return integers(op, x, y)
	}
	f, fOK := asFloat(a)
	g, gOK := asFloat(b)
	if fOK && gOK {
		v, err := floats(op, f, g)
		if result, ok := v.(float64); ok && !isFinite(result) && isFinite(f) && isFinite(g) {
			return nil, unsupported("an infinite result") // Jinja2 fails on it in constant expressions
		}
		return v, err
	}
	switch op {
	case "+":
		return r.add(a, b)
	case "*":
		if yInt {
			return r.repeat(a, y, b)
		}
		if xInt {
			return r.repeat(b, x, a)
		}
	case "%":
		if s, ok := a.(string); ok {
			return r.printf(s, b)
		}
		if _, ok := a.(markup); ok {
			return nil, unsupported("% of an escaped string")
		}
	}
	return nil, badOperands(op, a, b)
}

func isFinite(f float64) bool { return !math.IsInf(f, 0) && !math.IsNaN(f) }

// asFloat returns a number as a float.
func asFloat(v Value) (float64, bool) {
	if f, ok := v.(float64); ok {
		return f, true
	}
	n, ok := asInt(v)
	return float64(n), ok
}

func integers(op kind, a, b int) (Value, error) {
	switch op {
	case "+":
		if c := a + b; (c > a) == (b > 0) {
			return c, nil
		}
	case "-":
		if c := a - b; (c < a) == (b > 0) {
			return c, nil
		}
	case "*":
		if c, ok := multiply(a, b); ok {
			return c, nil
		}
	case "/":
		if b == 0 {
			return nil, errZeroDivisor
		}
		f, _ := new(big.Rat).SetFrac(big.NewInt(int64(a)), big.NewInt(int64(b))).Float64()
		if f == 0 && b < 0 {
			f = math.Copysign(0, -1)
		}
		return f, nil
	case "//", "%":
		return divide(op, a, b)
	case "**":
		return power(a, b)
	}
	return nil, errBigInteger
}

func multiply(a, b int) (int, bool) {
	hi, lo := bits.Mul64(magnitude(a), magnitude(b))
	if hi != 0 || lo > math.MaxInt {
		return 0, false
	}
	return a * b, true
}

func magnitude(n int) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// divide rounds the quotient down. The remainder has the sign of the divisor.
func divide(op kind, a, b int) (Value, error) {
	if b == 0 {
		return nil, errZeroDivisor
	}
	if a == math.MinInt && b == -1 {
		if op == "%" {
			return 0, nil
		}
		return nil, errBigInteger
	}
	q, m := a/b, a%b
	if m != 0 && (m < 0) != (b < 0) {
		q, m = q-1, m+b
	}
	if op == "%" {
		return m, nil
	}
	return q, nil
}

func power(a, b int) (Value, error) {
	if b < 0 {
		return floats("**", float64(a), float64(b))
	}
	if a == 0 || a == 1 || a == -1 { // b may be large
		if b%2 == 0 && a == -1 || b == 0 {
			return 1, nil
		}
		return a, nil
	}
	result := 1
	for range b {
		var ok bool
		if result, ok = multiply(result, a); !ok {
			return nil, errBigInteger
		}
	}
	return result, nil
}

func floats(op kind, a, b float64) (Value, error) {
	switch op {
	case "+":
		return a + b, nil
	case "-":
		return a - b, nil
	case "*":
		return a * b, nil
	case "**":
		return floatPower(a, b)
	}
	if b == 0 {
		return nil, errZeroDivisor
	}
	if op == "/" {
		return a / b, nil
	}
	q, m := floatDivide(a, b)
	if op == "%" {
		return m, nil
	}
	return q, nil
}

// largestExponent limits powers of floats, which are computed by multiplication for correct rounding.
const largestExponent = 4096

func floatPower(a, b float64) (Value, error) {
	n := int(max(min(b, largestExponent+1), -largestExponent-1))
	switch {
	case a == 0 && b < 0:
		return nil, typeError("0.0 cannot be raised to a negative power")
	case float64(n) != b || max(n, -n) > largestExponent || math.IsInf(a, 0) || math.IsNaN(a):
		return nil, unsupported("the power " + floatRepr(a) + " ** " + floatRepr(b))
	}
	result := big.NewFloat(1).SetPrec(2048)
	for range max(n, -n) {
		result.Mul(result, big.NewFloat(a))
	}
	if n < 0 && a != 0 {
		result.Quo(big.NewFloat(1), result)
	}
	f, _ := result.Float64()
	if math.IsInf(f, 0) {
		return nil, typeError("numerical result out of range")
	}
	return f, nil
}

// floatDivide is Python's divmod of floats.
func floatDivide(a, b float64) (q, m float64) {
	m = math.Mod(a, b)
	d := (a - m) / b
	if m != 0 {
		if (b < 0) != (m < 0) {
			m += b
			d--
		}
	} else {
		m = math.Copysign(0, b)
	}
	if d == 0 {
		return math.Copysign(0, a/b), m
	}
	q = math.Floor(d)
	if d-q > 0.5 {
		q++
	}
	return q, m
}

func (r *run) add(a, b Value) (Value, error) {
	s, sOK := asText(a)
	t, tOK := asText(b)
	if sOK && tOK {
		return r.addText(a, b, s, t)
	}
	x, xOK := sequence(a)
	y, yOK := sequence(b)
	if !xOK || !yOK || isTuple(a) != isTuple(b) {
		return nil, badOperands("+", a, b)
	}
	if err := r.allocItems(len(x) + len(y)); err != nil {
		return nil, err
	}
	if isTuple(a) {
		return &Tuple{slices.Concat(x, y)}, nil
	}
	return &List{slices.Concat(x, y)}, nil
}

// addText concatenates two strings. If one is Markup, the other is escaped.
func (r *run) addText(a, b Value, s, t string) (Value, error) {
	_, aSafe := a.(markup)
	_, bSafe := b.(markup)
	if aSafe != bSafe {
		if aSafe {
			t = escapeHTML(t)
		} else {
			s = escapeHTML(s)
		}
	}
	if err := r.alloc(len(s) + len(t)); err != nil {
		return nil, err
	}
	if aSafe || bSafe {
		return markup(s + t), nil
	}
	return s + t, nil
}

// repeat evaluates v * n. times is the original value of n, for error messages.
func (r *run) repeat(v Value, n int, times Value) (Value, error) {
	n = max(n, 0)
	if s, ok := asText(v); ok {
		if err := r.alloc(product(len(s), n)); err != nil {
			return nil, err
		}
		return sameText(v, repeatText(s, n)), nil
	}
	items, ok := sequence(v)
	if !ok {
		return nil, badOperands("*", v, times)
	}
	if err := r.allocItems(product(len(items), n)); err != nil {
		return nil, err
	}
	if len(items) == 0 {
		n = 0
	}
	if isTuple(v) {
		return &Tuple{slices.Repeat(items, n)}, nil
	}
	return &List{slices.Repeat(items, n)}, nil
}
