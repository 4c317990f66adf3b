#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// The backward pass of the convolution. Each thread computes one channel of ROWS rows:
//
//	dx(t) += Σ_j w(j)·g(t+K−1−j)  with g(t) = dy·act′(s)
//
// It recomputes g for the K−1 rows after its own, which read its rows, so that threads need not wait for each other.
// part (blocks, d, K+1), if present, receives the block's partial sums of dw, followed by that of db.
layout(local_size_x = 64) in;
layout(push_constant) uniform Arguments {
	Floats dx, dy, x, w, bias, carry, part;
	Ints first;
	uint lddx, lddy, ldx;
	uint rows, d;
};
#include "conv.glsl"
const int ROWS = 32;

void main() {
	uint c = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x, block = gl_WorkGroupID.y;
	if (c >= d) return;
	int t0 = int(block) * ROWS, t1 = min(int(rows), t0 + ROWS);
	float dw[K], db = 0.0, g[K]; // g[i] belongs to row t+i
	for (int j = 0; j < K; j++) dw[j] = g[j] = 0.0;
	for (int t = min(int(rows), t1 + K - 1) - 1; t >= t0; t--) {
		for (int i = K - 1; i > 0; i--) g[i] = g[i - 1];
		g[0] = dy.v[t * lddy + c] * derivative(sum_taps(t, c));
		if (t >= t1) continue;
		int start = first.v[t];
		float sum = 0.0;
		for (int i = 0; i < K; i++) {
			dw[i] = fma(g[0], tap(t - K + 1 + i, start, c), dw[i]);
			// Row t+i reads row t if both belong to the same document.
			if (t + i < int(rows) && first.v[t + i] <= t) sum = fma(w.v[c * K + K - 1 - i], g[i], sum);
		}
		db += g[0];
		if (present(dx)) dx.v[t * lddx + c] += sum;
	}
	if (!present(part)) return;
	for (int j = 0; j < K; j++) part.v[(block * d + c) * (K + 1) + j] = dw[j];
	part.v[(block * d + c) * (K + 1) + K] = db;
}
