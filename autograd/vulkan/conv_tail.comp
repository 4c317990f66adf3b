#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// tail (K−1, d) receives the last K−1 input rows of the last document, padded in front with zeros. One thread computes each channel.
// tail may be the same array as carry, because each row is read before it is overwritten.
layout(local_size_x = 64) in;
layout(constant_id = 0) const int K = 4;
layout(push_constant) uniform Arguments {
	Floats tail, x, carry;
	uint ldx;
	uint rows, d;
	int start; // first row of the last document
};
void main() {
	uint c = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x;
	if (c >= d) return;
	for (int i = 0; i < K - 1; i++) {
		int t = int(rows) - K + 1 + i;
		float value = 0.0;
		if (t >= 0 && t >= start) value = x.v[t * ldx + c];
		else if (t >= start && t > -K && present(carry)) value = carry.v[(K - 1 + t) * d + c];
		tail.v[i * d + c] = value;
	}
}
