#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "scan.glsl"
// states receives the gradient of the state before each chunk, if that of the state after it is zero. sums is as in scan_chunk.
layout(push_constant) uniform Arguments {
	Floats dy, dt, c, z, a_log, states, sums;
	Ints first;
	uint lddy, lddt, ldc, ldz;
	uint rows, d;
};
void main() {
	uint ch = channel();
	if (ch >= d) return;
	float lambda[Q], a[Q], sum = 0.0;
	EACH_STATE(j) {
		lambda[j] = 0.0;
		a[j] = decay_rate(a_log, ch, j);
	}
	bool whole = true;
	for (int t = int(min(rows, (chunk() + 1) * CHUNK)) - 1; t >= int(chunk() * CHUNK); t--) {
		float delta = softplus(dt.v[t * lddt + ch]), g = dy.v[t * lddy + ch];
		if (present(z)) g *= silu(z.v[t * ldz + ch]);
		sum += delta;
		EACH_STATE(j) lambda[j] = exp(delta * a[j]) * fma(g, element(c, ldc, t, j), lambda[j]);
		if (first.v[t] == t) { // no gradient flows into the previous document
			whole = false;
			EACH_STATE(j) lambda[j] = 0.0;
		}
	}
	EACH_STATE(j) save(states, d, ch, j, lambda[j]);
	if (leads()) sums.v[chunk() * d + ch] = whole ? sum : -1.0;
}
