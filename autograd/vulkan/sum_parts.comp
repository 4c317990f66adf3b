#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// y (rows, cols) is set to Σ_b x[b], or that is added to y. x is (parts, rows, width), and only columns from to from+cols−1 of it are
// used. Parts are added in ascending order.
layout(local_size_x = 64) in;
layout(push_constant) uniform Arguments {
	Floats y, x;
	uint ldy;
	uint rows, cols, parts, width, from, mode;
};
void main() {
	uint e = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x;
	if (e >= rows * cols) return;
	uint r = e / cols, c = e % cols;
	float sum = 0.0;
	for (uint b = 0; b < parts; b++) sum += x.v[(b * rows + r) * width + from + c];
	store(y, r * ldy + c, sum, mode);
}
