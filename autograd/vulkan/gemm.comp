#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// c (m, n) is set to alpha·op(a)·op(b) + alpha2·op(a2)·op(b2) + bias, or that is added to c. op(a) is (m, k): a, or its transpose
// if TA is set. op(b) is (k, n): b, or its transpose if TB is set. The second product is an adapter's; its sum over k2 continues
// the sum over k.
//
// With more than one group in z, each group sums part of the k steps. c is then (groups, m, n), and sum_parts adds the parts.
layout(constant_id = 0) const uint BM = 64;
layout(constant_id = 1) const uint BN = 64;
layout(constant_id = 2) const uint BK = 16;
layout(constant_id = 3) const uint TM = 4;
layout(constant_id = 4) const uint TN = 4;
layout(constant_id = 5) const bool TA = false;
layout(constant_id = 6) const bool TB = false;
layout(constant_id = 7) const bool BF16 = false; // b is bfloat16
layout(constant_id = 8) const uint UNROLLED = 16;
layout(local_size_x_id = 9) in;
layout(push_constant) uniform Arguments {
	Floats c, a, b, a2, b2, bias;
	uint ldc, lda, ldb, lda2, ldb2;
	uint m, n, k, k2, part, mode;
	float alpha, alpha2;
};
#include "product.glsl"

uint row0() { return gl_WorkGroupID.y * BM; }
uint column0() { return gl_WorkGroupID.x * BN; }

float left(uint i, uint l) {
	i += row0();
	return i < m ? alpha * a.v[TA ? l * lda + i : i * lda + l] : 0.0;
}
float right(uint l, uint j) {
	j += column0();
	if (j >= n) return 0.0;
	uint at = TB ? j * ldb + l : l * ldb + j;
	return BF16 ? widen(b, at) : b.v[at];
}
float left2(uint i, uint l) {
	i += row0();
	return i < m ? alpha2 * a2.v[TA ? l * lda2 + i : i * lda2 + l] : 0.0;
}
float right2(uint l, uint j) {
	j += column0();
	return j < n ? b2.v[TB ? j * ldb2 + l : l * ldb2 + j] : 0.0;
}

void main() {
	clear_tile();
	uint from = gl_WorkGroupID.z * part;
	PRODUCT(from, min(k, from + part), left, TA, right, TB)
	if (gl_WorkGroupID.z == 0) PRODUCT(0, k2, left2, TA, right2, TB)
	FOR_TILE(i, j) {
		uint r = row0() + tile_row(i), s = column0() + tile_column(j);
		if (r < m && s < n) {
			float value = tile[i * TN + j];
			if (present(bias)) value += bias.v[s];
			store(c, (gl_WorkGroupID.z * m + r) * ldc + s, value, mode);
		}
	}
}
