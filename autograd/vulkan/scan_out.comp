#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "scan.glsl"
// y is computed from the states before the chunks. z and skip may be absent.
layout(push_constant) uniform Arguments {
	Floats y, u, dt, b, c, z, a_log, skip, states;
	Ints first;
	uint ldy, ldu, lddt, ldb, ldc, ldz;
	uint rows, d;
};
void main() {
	uint ch = channel();
	if (ch >= d) return;
	float h[Q], a[Q];
	EACH_STATE(j) {
		h[j] = load(states, d, ch, j);
		a[j] = decay_rate(a_log, ch, j);
	}
	for (uint t = chunk() * CHUNK; t < min(rows, (chunk() + 1) * CHUNK); t++) {
		if (first.v[t] == int(t)) { EACH_STATE(j) h[j] = 0.0; }
		float input_ = u.v[t * ldu + ch], delta = softplus(dt.v[t * lddt + ch]), drive = delta * input_, sum = 0.0;
		EACH_STATE(j) {
			h[j] = fma(exp(delta * a[j]), h[j], drive * element(b, ldb, t, j));
			sum = fma(h[j], element(c, ldc, t, j), sum);
		}
		sum = quad_sum(sum);
		if (present(skip)) sum = fma(skip.v[ch], input_, sum);
		if (present(z)) sum *= silu(z.v[t * ldz + ch]);
		if (leads()) y.v[t * ldy + ch] = sum;
	}
}
