#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// part[b] is a sum over block elements of x (n): of x², of x, or of 1 for each element that is NaN or infinite, depending on
// OPERATION. One group computes each block.
const uint GROUP = 256;
#include "reduce.glsl"
layout(local_size_x = GROUP) in;
layout(constant_id = 0) const uint OPERATION = 0;
layout(push_constant) uniform Arguments {
	Floats part, x;
	uint n, block;
};
const uint SQUARES = 0, NOT_FINITE = 1, PLAIN = 2;

// finite looks at the exponent bits, because the compiler may assume in comparisons that no value is NaN or infinite.
bool finite(float value) { return (floatBitsToUint(value) & 0x7f800000u) != 0x7f800000u; }

void main() {
	uint from = gl_WorkGroupID.x * block;
	float sum = 0.0;
	for (uint i = from + gl_LocalInvocationID.x; i < min(n, from + block); i += GROUP) {
		float value = x.v[i];
		switch (OPERATION) {
		case SQUARES: sum = fma(value, value, sum); break;
		case NOT_FINITE: sum += finite(value) ? 0.0 : 1.0; break;
		case PLAIN: sum += value; break;
		}
	}
	sum = group_sum(sum);
	if (gl_LocalInvocationID.x == 0) part.v[gl_WorkGroupID.x] = sum;
}
