#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// The gradient of rmsnorm with respect to w, in parts: part[b] (m) is Σ dy∘x·s over 64 rows, where s is read from inverse (rows).
layout(local_size_x = 64) in;
layout(push_constant) uniform Arguments {
	Floats part, dy, x, inverse;
	uint lddy, ldx;
	uint rows, m;
};
void main() {
	uint j = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x, block = gl_WorkGroupID.y;
	if (j >= m) return;
	float sum = 0.0;
	for (uint r = block * 64; r < min(rows, block * 64 + 64); r++) sum = fma(dy.v[r * lddy + j] * x.v[r * ldx + j], inverse.v[r], sum);
	part.v[block * m + j] = sum;
}
