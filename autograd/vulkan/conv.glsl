// The causal depthwise convolution, as in package kernel's conv_ref.go. The pre-activation is
//
//	s(t, c) = bias(c) + Σ_j w(c, j)·x(t−K+1+j, c)
//
// where rows before the start of the document are zero. Rows before the batch come from carry (K−1, d), or are zero if it is absent.
layout(constant_id = 0) const int K = 4;
layout(constant_id = 1) const uint ACT = 1;

const uint IDENTITY = 0, SILU = 1, GELU = 2, GELU_TANH = 3, RELU = 4, TANH = 5, SIGMOID = 6;

// tanh_ replaces GLSL's tanh, whose precision is hardly specified.
float tanh_(float x) {
	float e = exp(-2.0 * abs(x));
	return sign(x) * (1.0 - e) / (1.0 + e);
}

// erf_ approximates erf with formula 7.1.26 of Abramowitz & Stegun. The absolute error is at most 1.5e-7.
float erf_(float x) {
	float t = 1.0 / (1.0 + 0.3275911 * abs(x));
	float p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
	return sign(x) * (1.0 - p * exp(-x * x));
}

const float ROOT_HALF = 0.70710678, DENSITY = 0.39894228; // 1/√2, 1/√(2π)
const float GELU_SCALE = 0.79788456, GELU_CUBIC = 0.044715; // √(2/π)

float activate(float x) {
	switch (ACT) {
	case SILU: return silu(x);
	case GELU: return 0.5 * x * (1.0 + erf_(x * ROOT_HALF));
	case GELU_TANH: return 0.5 * x * (1.0 + tanh_(GELU_SCALE * (x + GELU_CUBIC * x * x * x)));
	case RELU: return max(x, 0.0);
	case TANH: return tanh_(x);
	case SIGMOID: return sigmoid(x);
	}
	return x;
}

float derivative(float x) {
	float t;
	switch (ACT) {
	case SILU: return silu_grad(x);
	case GELU: return 0.5 * (1.0 + erf_(x * ROOT_HALF)) + x * DENSITY * exp(-0.5 * x * x);
	case GELU_TANH:
		t = tanh_(GELU_SCALE * (x + GELU_CUBIC * x * x * x));
		return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * x * x);
	case RELU: return x > 0.0 ? 1.0 : 0.0;
	case TANH: t = tanh_(x); return 1.0 - t * t;
	case SIGMOID: t = sigmoid(x); return t * (1.0 - t);
	}
	return 1.0;
}

// The shaders that include this declare w, bias, carry, x, ldx, d, and first.

// tap returns input row t of channel c, as seen from a row whose document starts at row start.
float tap(int t, int start, uint c) {
	if (t < start) return 0.0;
	if (t >= 0) return x.v[t * ldx + c];
	return present(carry) && t > -K ? carry.v[(K - 1 + t) * d + c] : 0.0;
}

// sum_taps returns s(t, c).
float sum_taps(int t, uint c) {
	int start = first.v[t];
	float s = present(bias) ? bias.v[c] : 0.0;
	for (int j = 0; j < K; j++) s = fma(w.v[c * K + j], tap(t - K + 1 + j, start, c), s);
	return s;
}
