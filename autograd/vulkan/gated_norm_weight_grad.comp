#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// The gradient of gated_norm with respect to w, in parts: part[b] (d) is Σ do∘v·s over 64 rows, where s is read from
// inverse (rows, groups).
layout(local_size_x = 64) in;
layout(push_constant) uniform Arguments {
	Floats part, do_, y, z, inverse;
	uint lddo, ldy, ldz;
	uint rows, d, width, groups;
};
void main() {
	uint j = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x, block = gl_WorkGroupID.y;
	if (j >= d) return;
	float sum = 0.0;
	for (uint r = block * 64; r < min(rows, block * 64 + 64); r++) {
		float v = y.v[r * ldy + j] * silu(z.v[r * ldz + j]);
		sum = fma(do_.v[r * lddo + j] * v, inverse.v[r * groups + j / width], sum);
	}
	part.v[block * d + j] = sum;
}
