#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// y(t) = 1/‖x(t)‖, or 0 if row t is zero. One group computes each row.
const uint GROUP = 128;
#include "reduce.glsl"
layout(local_size_x = GROUP) in;
layout(push_constant) uniform Arguments {
	Floats y, x;
	uint ldx;
	uint cols;
};
void main() {
	uint row = gl_WorkGroupID.x;
	float squares = 0.0;
	for (uint j = gl_LocalInvocationID.x; j < cols; j += GROUP) squares = fma(x.v[row * ldx + j], x.v[row * ldx + j], squares);
	squares = group_sum(squares);
	if (gl_LocalInvocationID.x == 0) y.v[row] = squares == 0.0 ? 0.0 : 1.0 / sqrt(squares);
}
