#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "scan.glsl"
// states receives the state after each chunk, starting from zero. sums (chunks, d) receives S, or −1 if a document starts in the
// chunk: then nothing passes from the state before the chunk to the state after it.
layout(push_constant) uniform Arguments {
	Floats u, dt, b, a_log, states, sums;
	Ints first;
	uint ldu, lddt, ldb;
	uint rows, d;
};
void main() {
	uint c = channel();
	if (c >= d) return;
	float h[Q], a[Q], sum = 0.0;
	EACH_STATE(j) {
		h[j] = 0.0;
		a[j] = decay_rate(a_log, c, j);
	}
	bool whole = true;
	for (uint t = chunk() * CHUNK; t < min(rows, (chunk() + 1) * CHUNK); t++) {
		if (first.v[t] == int(t)) {
			whole = false;
			EACH_STATE(j) h[j] = 0.0;
		}
		float delta = softplus(dt.v[t * lddt + c]), drive = delta * u.v[t * ldu + c];
		sum += delta;
		EACH_STATE(j) h[j] = fma(exp(delta * a[j]), h[j], drive * element(b, ldb, t, j));
	}
	EACH_STATE(j) save(states, d, c, j, h[j]);
	if (leads()) sums.v[chunk() * d + c] = whole ? sum : -1.0;
}
