#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// y (rows, cols) is filled with value.
layout(local_size_x = 64) in;
layout(push_constant) uniform Arguments {
	Floats y;
	uint ldy;
	uint rows, cols;
	float value;
};
void main() {
	uint j = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x;
	if (j < cols) y.v[gl_WorkGroupID.y * ldy + j] = value;
}
