package kernel

import "math"

// Polynomials for float32, about twenty times as fast as math.Exp. The vector loops approximate the same functions;
// see gen/asm/math.go.

const (
	ln2Hi = 0.693359375             // ln 2 in 9 bits, so that n·ln2Hi is exact
	ln2Lo = -2.12194440054690582e-4 // ln 2 − ln2Hi
)

// roundBias is 1.5·2²³: adding it to a small float32 and subtracting it again rounds to an integer.
const roundBias = 12582912

// reduce32 splits exp(x) into p·2^n with p in [√½, √2]: Cody and Waite's two-step reduction and a polynomial of degree
// six.
func reduce32(x float32) (p, n float32) {
	x = max(-150, min(x, 150))
	n = float32(x*math.Log2E+roundBias) - roundBias
	r := x - n*ln2Hi - n*ln2Lo
	p = 1.9875691500e-4
	p = p*r + 1.3981999507e-3
	p = p*r + 8.3334519073e-3
	p = p*r + 4.1665795894e-2
	p = p*r + 1.6666665459e-1
	p = p*r + 5.0000001201e-1
	return p*(r*r) + r + 1, n
}

// scale2 returns p·2^n, denormals and overflow included, for |n| ≤ 252.
func scale2(p, n float32) float32 {
	half := int32(n) >> 1
	rest := int32(n) - half
	return p * math.Float32frombits(uint32(half+127)<<23) * math.Float32frombits(uint32(rest+127)<<23)
}

// exp32 returns exp(x) within 2 ulp.
func exp32(x float32) float32 {
	if x != x {
		return x
	}
	p, n := reduce32(x)
	return scale2(p, n)
}

// sigmoid32 returns 1/(1+exp(−x)). For x < 0, the power of two is applied last, so that the result keeps its relative
// precision where exp(x) alone is denormal.
func sigmoid32(x float32) float32 { return gated32(x, 1) }

// gated32 returns y·σ(x).
func gated32(x, y float32) float32 {
	if x != x {
		return x
	}
	p, n := reduce32(-max(x, -x))
	d := 1 + scale2(p, n)
	if x < 0 {
		return scale2(y*p/d, n)
	}
	return y / d
}

// softplus32 returns log(1+exp(x)) as max(x, 0) + log1p(e), e = exp(−|x|), log1p(e) = 2·atanh(e/(2+e)).
func softplus32(x float32) float32 {
	if x != x {
		return x
	}
	p, n := reduce32(-max(x, -x))
	e := scale2(p, n)
	s := e / (2 + e)
	q := s * s
	l := float32(atanh5)
	l = l*q + atanh4
	l = l*q + atanh3
	l = l*q + atanh2
	l = l*q + atanh1
	l = l*q + atanh0
	return max(x, 0) + l*s
}

// Coefficients of 2·atanh(s)/s as a polynomial in s² on [0, 1/9], by interpolation at Chebyshev nodes; relative error
// below 1e-9.
const (
	atanh0 = 1.99999999981
	atanh1 = 0.666666790264
	atanh2 = 0.399987112479
	atanh3 = 0.286202073789
	atanh4 = 0.213985608412
	atanh5 = 0.24393906786
)
