#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// dx is set to s·(w∘dy − x·s²·mean(w∘dy∘x)) with s = 1/√(mean(x²) + eps), or that is added to dx. One group computes each row.
// inverse, if present, receives s. If w is absent, it is taken to be 1. dx may be absent, or the same array as dy.
const uint GROUP = 128;
#include "reduce.glsl"
layout(local_size_x = GROUP) in;
layout(push_constant) uniform Arguments {
	Floats dx, dy, x, w, inverse;
	uint lddx, lddy, ldx;
	uint m, mode;
	float eps;
};
float weighted(uint row, uint j) { return (present(w) ? w.v[j] : 1.0) * dy.v[row * lddy + j]; }
void main() {
	uint row = gl_WorkGroupID.x, i = gl_LocalInvocationID.x;
	float squares = 0.0, products = 0.0;
	for (uint j = i; j < m; j += GROUP) {
		float value = x.v[row * ldx + j];
		squares = fma(value, value, squares);
		products = fma(weighted(row, j), value, products);
	}
	float s = 1.0 / sqrt(group_sum(squares) / float(m) + eps);
	float k = s * s * s * group_sum(products) / float(m);
	if (present(inverse) && i == 0) inverse.v[row] = s;
	if (!present(dx)) return;
	for (uint j = i; j < m; j += GROUP) store(dx, row * lddx + j, s * weighted(row, j) - k * x.v[row * ldx + j], mode);
}
