#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// y(t, i) is set to x(t, i)·a(i)·b(i), or that is added to y. y may be the same array as x.
layout(local_size_x = 64) in;
layout(push_constant) uniform Arguments {
	Floats y, x, a, b;
	uint ldy, ldx;
	uint cols, mode;
};
void main() {
	uint j = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x, r = gl_WorkGroupID.y;
	if (j < cols) store(y, r * ldy + j, x.v[r * ldx + j] * a.v[j] * b.v[j], mode);
}
