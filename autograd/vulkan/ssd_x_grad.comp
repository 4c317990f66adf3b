#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// dx, which may be absent, and four dot products for each row and tile of columns: dots (tiles, 4, rows, heads) receives
// γ·into·S·C, Δ·x·fade·Λ·B, x·u, and γ·x.
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Arguments {
	Floats dx, dots, dy, x, b, c, gram, states, after, skip, delta, s, s_low;
	Ints first;
	uint lddx, lddy, ldx, ldb, ldc;
	uint rows, heads, p, n, each, mode;
};
layout(push_constant) uniform Push { Arguments g; };
#include "ssd.glsl"
#include "ssd_tile.glsl"
uint column(uint j) { return gl_WorkGroupID.x * BN + j; }
uint group() { return head / g.each; }
float gram(uint i, uint j) { return g.gram.v[((chunk * (g.heads / g.each) + group()) * CHUNK + i) * CHUNK + j]; }
float delta(uint i) { return g.delta.v[(first_row() + i) * g.heads + head]; }
float x(uint i, uint j) { return i < row_count() && column(j) < g.p ? g.x.v[(first_row() + i) * g.ldx + head * g.p + column(j)] : 0.0; }
float dy(uint i, uint j) { return i < row_count() && column(j) < g.p ? g.dy.v[(first_row() + i) * g.lddy + head * g.p + column(j)] : 0.0; }
uint element(uint l, uint j) { return (gl_WorkGroupID.z * g.p + column(j)) * g.n + l; }

// The operands of into·S·C, from the state before the chunk.
float reach(uint i, uint l) { return i < row_count() ? into(i) * g.c.v[(first_row() + i) * g.ldc + group() * g.n + l] : 0.0; }
float state(uint l, uint j) { return column(j) < g.p ? g.states.v[element(l, j)] : 0.0; }

// The operands of fade·Λ·B, from the gradient of the state after the chunk.
float faded(uint i, uint l) { return i < row_count() ? fade(i) * g.b.v[(first_row() + i) * g.ldb + group() * g.n + l] : 0.0; }
float after(uint l, uint j) { return column(j) < g.p ? g.after.v[element(l, j)] : 0.0; }

// pairs returns the weight with which row i contributes to row l.
float pairs(uint i, uint l) { return i < row_count() ? gram(l, i) * between(l, i) : 0.0; }

// dot_rows writes dot product k of each row: the sum of values over the tile's columns.
void dot_rows(uint k, float values[TM * TN]) {
	float sum = sum_rows(values);
	uint i = gl_LocalInvocationID.x;
	if (i < row_count()) g.dots.v[((gl_WorkGroupID.x * 4 + k) * g.rows + first_row() + i) * g.heads + head] = sum;
}

void main() {
	chunk = gl_WorkGroupID.z / g.heads;
	head = gl_WorkGroupID.z % g.heads;
	float value[TM * TN];
	uint rows = row_count();
	clear_tile();
	PRODUCT(0, g.n, reach, false, state, true)
	FOR_TILE(a, b) value[a * TN + b] = tile[a * TN + b] * dy(tile_row(a), tile_column(b));
	dot_rows(0, value);

	clear_tile();
	PRODUCT(0, g.n, faded, false, after, true)
	FOR_TILE(a, b) {
		uint i = tile_row(a);
		value[a * TN + b] = i < rows ? tile[a * TN + b] * x(i, tile_column(b)) * delta(i) : 0.0;
	}
	dot_rows(1, value);

	PRODUCT(0, rows, pairs, true, dy, false)
	FOR_TILE(a, b) value[a * TN + b] = tile[a * TN + b] * x(tile_row(a), tile_column(b));
	dot_rows(2, value);

	FOR_TILE(a, b) value[a * TN + b] = dy(tile_row(a), tile_column(b)) * x(tile_row(a), tile_column(b));
	dot_rows(3, value);

	if (!present(g.dx)) return;
	FOR_TILE(a, b) {
		uint i = tile_row(a), j = tile_column(b);
		if (i < rows && column(j) < g.p) {
			float d = delta(i) * tile[a * TN + b];
			if (present(g.skip)) d = fma(g.skip.v[head], dy(i, j), d);
			store(g.dx, (first_row() + i) * g.lddx + head * g.p + column(j), d, g.mode);
		}
	}
}
