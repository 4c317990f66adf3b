#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// y is x with some elements set to zero and the others multiplied by keep. Element j of row r is dropped if the upper half of
// splitmix.Derive(seed, r·cols + j) is below limit, so the host and the device drop the same elements. Many devices lack 64-bit
// integers, so they are represented by pairs of 32-bit integers, lower half first. y may be the same array as x.
layout(local_size_x = 64) in;
layout(push_constant) uniform Arguments {
	Floats y, x;
	Ints numbers; // row numbers r
	uvec2 seed;
	uint ldy, ldx;
	uint cols, limit;
	float keep;
};

uvec2 add64(uvec2 a, uvec2 b) {
	uint carry, low = uaddCarry(a.x, b.x, carry);
	return uvec2(low, a.y + b.y + carry);
}

uvec2 multiply64(uvec2 a, uvec2 b) {
	uint high, low;
	umulExtended(a.x, b.x, high, low);
	return uvec2(low, high + a.x * b.y + a.y * b.x);
}

// xor_shift returns a ^ a>>n for n < 32.
uvec2 xor_shift(uvec2 a, uint n) { return a ^ uvec2(a.x >> n | a.y << (32 - n), a.y >> n); }

// derive_high returns the upper half of splitmix.Derive(seed, id), which is Mix rotated left by 17 bits.
uint derive_high(uvec2 id) {
	uvec2 z = add64(seed, multiply64(id, uvec2(0x7f4a7c15u, 0x9e3779b9u)));
	z = multiply64(xor_shift(z, 30), uvec2(0x1ce4e5b9u, 0xbf58476du));
	z = multiply64(xor_shift(z, 27), uvec2(0x133111ebu, 0x94d049bbu));
	z = xor_shift(z, 31);
	return z.y << 17 | z.x >> 15;
}

void main() {
	uint j = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x, r = gl_WorkGroupID.y;
	if (j >= cols) return;
	uvec2 id = add64(multiply64(uvec2(numbers.v[r], 0), uvec2(cols, 0)), uvec2(j, 0));
	y.v[r * ldy + j] = derive_high(id) < limit ? 0.0 : x.v[r * ldx + j] * keep;
}
