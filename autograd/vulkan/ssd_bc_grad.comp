#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// d receives dC_i = Σ_j W_ij·B_j + Σ_heads into_i·Sᵀ·γ_i. Then other is B, x is γ, and states is S. If OF_B is set, d receives
// dB_j = Σ_i W_ij·C_i + Σ_heads fade_j·Δ_j·Λᵀ·x_j. Then other is C, x is x, and states is Λ.
layout(constant_id = 1) const bool OF_B = false;
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Arguments {
	Floats d, w, other, x, states, delta, s, s_low;
	Ints first;
	uint ldd, ldother, ldx;
	uint rows, heads, p, n, each, mode;
};
layout(push_constant) uniform Push { Arguments g; };
#include "ssd.glsl"
#include "ssd_tile.glsl"
uint column(uint j) { return gl_WorkGroupID.x * BN + j; }
uint group() { return gl_WorkGroupID.y; }

float weight(uint i, uint l) {
	uint place = (chunk * (g.heads / g.each) + group()) * CHUNK * CHUNK;
	return i < row_count() ? g.w.v[place + (OF_B ? l * CHUNK + i : i * CHUNK + l)] : 0.0;
}
float other(uint l, uint j) { return column(j) < g.n ? g.other.v[(first_row() + l) * g.ldother + group() * g.n + column(j)] : 0.0; }

// channels returns the second sum's left operand. l runs over the channels of all heads of the group.
float channels(uint i, uint l) {
	if (i >= row_count()) return 0.0;
	head = group() * g.each + l / g.p;
	float k = OF_B ? fade(i) * g.delta.v[(first_row() + i) * g.heads + head] : into(i);
	return k * g.x.v[(first_row() + i) * g.ldx + group() * g.each * g.p + l];
}
float state(uint l, uint j) {
	return column(j) < g.n ? g.states.v[((chunk * g.heads + group() * g.each) * g.p + l) * g.n + column(j)] : 0.0;
}

void main() {
	chunk = gl_WorkGroupID.z;
	uint rows = row_count(), width = g.each * g.p;
	clear_tile();
	PRODUCT(0, rows, weight, OF_B, other, false)
	PRODUCT(0, width, channels, false, state, false)
	FOR_TILE(a, b) {
		uint i = tile_row(a), j = tile_column(b);
		if (i < rows && column(j) < g.n) store(g.d, (first_row() + i) * g.ldd + group() * g.n + column(j), tile[a * TN + b], g.mode);
	}
}
