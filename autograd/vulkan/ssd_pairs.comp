#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// w (parts, chunks, groups, CHUNK, CHUNK) receives W in parts, each a sum over HEADS heads of a group. v (chunks, heads, CHUNK, CHUNK)
// receives V, the gradient of s_i − s_j for j < i.
layout(constant_id = 1) const uint HEADS = 4;
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Arguments {
	Floats w, v, dy, x, gram, delta, s, s_low;
	Ints first;
	uint lddy, ldx;
	uint rows, heads, p, each, chunks;
};
layout(push_constant) uniform Push { Arguments g; };
#include "ssd.glsl"
#include "ssd_tile.glsl"
float left(uint i, uint l) { return i < row_count() ? g.dy.v[(first_row() + i) * g.lddy + head * g.p + l] : 0.0; }
float right(uint l, uint j) { return j < row_count() ? g.x.v[(first_row() + j) * g.ldx + head * g.p + l] : 0.0; }

void main() {
	chunk = gl_WorkGroupID.z;
	uint group = gl_WorkGroupID.y, groups = g.heads / g.each, rows = row_count();
	uint place = (chunk * groups + group) * CHUNK * CHUNK;
	float sum[TM * TN];
	[[unroll]] for (uint e = 0; e < TM * TN; e++) sum[e] = 0.0;
	for (uint k = gl_WorkGroupID.x * HEADS; k < min(g.each, (gl_WorkGroupID.x + 1) * HEADS); k++) {
		head = group * g.each + k;
		clear_tile();
		PRODUCT(0, g.p, left, false, right, true)
		FOR_TILE(a, b) {
			uint i = tile_row(a), j = tile_column(b), e = a * TN + b;
			bool pair = i < rows && j <= i;
			float share = pair ? tile[e] * between(i, j) * g.delta.v[(first_row() + j) * g.heads + head] : 0.0;
			sum[e] += share;
			g.v.v[((chunk * g.heads + head) * CHUNK + i) * CHUNK + j] = pair && j < i ? share * g.gram.v[place + i * CHUNK + j] : 0.0;
		}
	}
	place += gl_WorkGroupID.x * g.chunks * groups * CHUNK * CHUNK;
	FOR_TILE(a, b) g.w.v[place + tile_row(a) * CHUNK + tile_column(b)] = sum[a * TN + b];
}
