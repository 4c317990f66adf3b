#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// y is computed from the states before the chunks. skip is D and may be absent.
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Arguments {
	Floats y, x, c, gram, states, skip, delta, s, s_low;
	Ints first;
	uint ldy, ldx, ldc;
	uint rows, heads, p, n, each;
};
layout(push_constant) uniform Push { Arguments g; };
#include "ssd.glsl"
#include "ssd_tile.glsl"
uint column(uint j) { return gl_WorkGroupID.x * BN + j; }
float gram(uint i, uint j) { return g.gram.v[((chunk * (g.heads / g.each) + head / g.each) * CHUNK + i) * CHUNK + j]; }
float x(uint i, uint j) { return column(j) < g.p ? g.x.v[(first_row() + i) * g.ldx + head * g.p + column(j)] : 0.0; }

// The operands of the first sum, over the rows of the chunk.
float pairs(uint i, uint l) {
	return i < row_count() ? gram(i, l) * between(i, l) * g.delta.v[(first_row() + l) * g.heads + head] : 0.0;
}

// The operands of the second product, with the state before the chunk.
float reach(uint i, uint l) {
	return i < row_count() ? into(i) * g.c.v[(first_row() + i) * g.ldc + head / g.each * g.n + l] : 0.0;
}
float state(uint l, uint j) {
	return column(j) < g.p ? g.states.v[(gl_WorkGroupID.z * g.p + column(j)) * g.n + l] : 0.0;
}

void main() {
	chunk = gl_WorkGroupID.z / g.heads;
	head = gl_WorkGroupID.z % g.heads;
	clear_tile();
	uint rows = row_count();
	PRODUCT(0, rows, pairs, false, x, false)
	PRODUCT(0, g.n, reach, false, state, true)
	FOR_TILE(i, j) {
		uint r = tile_row(i), c = tile_column(j);
		if (r < rows && column(c) < g.p) {
			float value = tile[i * TN + j];
			if (present(g.skip)) value = fma(g.skip.v[head], x(r, c), value);
			g.y.v[(first_row() + r) * g.ldy + head * g.p + column(c)] = value;
		}
	}
}
