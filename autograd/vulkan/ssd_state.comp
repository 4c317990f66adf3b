#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// states (chunks, heads, p, n) receives Σ_j fade_j·Δ_j·x_j·B_jᵀ. If BACKWARD is set, x is γ, b is C, and states receives
// Σ_i into_i·γ_i·C_iᵀ.
layout(constant_id = 1) const bool BACKWARD = false;
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Arguments {
	Floats states, x, b, delta, s, s_low;
	Ints first;
	uint ldx, ldb;
	uint rows, heads, p, n, each; // each: heads per group
};
layout(push_constant) uniform Push { Arguments g; };
#include "ssd.glsl"
#include "ssd_tile.glsl"
float weight(uint l) { return BACKWARD ? into(l) : fade(l) * g.delta.v[(first_row() + l) * g.heads + head]; }
float left(uint i, uint l) {
	i += gl_WorkGroupID.y * BM;
	return i < g.p ? weight(l) * g.x.v[(first_row() + l) * g.ldx + head * g.p + i] : 0.0;
}
float right(uint l, uint j) {
	j += gl_WorkGroupID.x * BN;
	return j < g.n ? g.b.v[(first_row() + l) * g.ldb + head / g.each * g.n + j] : 0.0;
}
void main() {
	chunk = gl_WorkGroupID.z / g.heads;
	head = gl_WorkGroupID.z % g.heads;
	clear_tile();
	uint rows = row_count();
	PRODUCT(0, rows, left, true, right, false)
	FOR_TILE(i, j) {
		uint r = gl_WorkGroupID.y * BM + tile_row(i), c = gl_WorkGroupID.x * BN + tile_column(j);
		if (r < g.p && c < g.n) g.states.v[(gl_WorkGroupID.z * g.p + r) * g.n + c] = tile[i * TN + j];
	}
}
