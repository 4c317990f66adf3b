#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// The gated RMS norm: o = w∘v / √(mean(v²) + eps) with v = y·silu(z). The mean is over width channels, each computed by one group of
// threads. o may be the same array as y.
const uint GROUP = 128;
#include "reduce.glsl"
layout(local_size_x = GROUP) in;
layout(push_constant) uniform Arguments {
	Floats o, y, z, w;
	uint ldo, ldy, ldz;
	uint width;
	float eps;
};
void main() {
	uint row = gl_WorkGroupID.x, from = gl_WorkGroupID.y * width, i = gl_LocalInvocationID.x;
	float squares = 0.0;
	for (uint j = from + i; j < from + width; j += GROUP) {
		float v = y.v[row * ldy + j] * silu(z.v[row * ldz + j]);
		squares = fma(v, v, squares);
	}
	float s = 1.0 / sqrt(group_sum(squares) / float(width) + eps);
	for (uint j = from + i; j < from + width; j += GROUP) {
		float v = y.v[row * ldy + j] * silu(z.v[row * ldz + j]);
		o.v[row * ldo + j] = w.v[j] * v * s;
	}
}
