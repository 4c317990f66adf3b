#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// part[b] = Σ f(x) over block elements of x (n), where f is x², the number of elements that are NaN or infinite, or x itself, as
// OPERATION says; a group for each block.
const uint GROUP = 256;
#include "reduce.glsl"
layout(local_size_x = GROUP) in;
layout(constant_id = 0) const uint OPERATION = 0;
layout(push_constant) uniform Arguments {
	Floats part, x;
	uint n, block;
};
const uint SQUARES = 0, NOT_FINITE = 1, PLAIN = 2;

// The exponent tells NaN and infinity. Comparisons may be compiled as if there were none.
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
