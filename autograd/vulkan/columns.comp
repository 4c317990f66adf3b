#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// Column sums: part[b] (cols) is Σ x, Σ x², or Σ x·y over 64 rows, depending on OPERATION. factor, if present, multiplies the sum.
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint OPERATION = 0;
layout(push_constant) uniform Arguments {
	Floats part, x, y, factor;
	uint ldx, ldy;
	uint rows, cols;
};
const uint SUM = 0, SQUARES = 1, PRODUCTS = 2;
void main() {
	uint j = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x, block = gl_WorkGroupID.y;
	if (j >= cols) return;
	float sum = 0.0;
	for (uint r = block * 64; r < min(rows, block * 64 + 64); r++) {
		float value = x.v[r * ldx + j];
		switch (OPERATION) {
		case SUM: sum += value; break;
		case SQUARES: sum = fma(value, value, sum); break;
		case PRODUCTS: sum = fma(value, y.v[r * ldy + j], sum); break;
		}
	}
	part.v[block * cols + j] = present(factor) ? sum * factor.v[j] : sum;
}
