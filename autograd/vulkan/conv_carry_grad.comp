#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// The gradients that pass between batches: the convolution's gradient with respect to carry, and the gradient of the tail with
// respect to the rows copied into it. One thread computes each channel. dcarry (K−1, d), dx, and dtail (K−1, d) may be absent.
layout(local_size_x = 64) in;
layout(push_constant) uniform Arguments {
	Floats dx, dy, x, w, bias, carry, dcarry, dtail;
	Ints first;
	uint lddx, lddy, ldx;
	uint rows, d;
};
#include "conv.glsl"

// forward_grad adds to dcarry the gradients from the rows that read carry.
void forward_grad(uint c) {
	for (int t = 0; t < min(int(rows), K - 1); t++) {
		float g = dy.v[t * lddy + c] * derivative(sum_taps(t, c));
		for (int j = 0; t - K + 1 + j < 0; j++)
			if (t - K + 1 + j >= first.v[t]) dcarry.v[(t + j) * d + c] += w.v[c * K + j] * g;
	}
}

// tail_grad adds the gradient of each row that was copied to the tail.
void tail_grad(uint c) {
	for (int i = 0; i < K - 1; i++) {
		int t = int(rows) - K + 1 + i;
		if (t < first.v[rows - 1]) continue;
		if (t >= 0) {
			if (present(dx)) dx.v[t * lddx + c] += dtail.v[i * d + c];
		} else if (present(dcarry)) {
			dcarry.v[(K - 1 + t) * d + c] += dtail.v[i * d + c];
		}
	}
}

void main() {
	uint c = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x;
	if (c >= d) return;
	if (present(dcarry)) forward_grad(c);
	if (present(dtail)) tail_grad(c);
}
