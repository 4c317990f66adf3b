#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// gram (chunks, groups, CHUNK, CHUNK) receives G_ij = C_i·B_j.
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Arguments {
	Floats gram, b, c, s, s_low;
	Ints first;
	uint ldb, ldc;
	uint rows, heads, n, groups;
};
layout(push_constant) uniform Push { Arguments g; };
#include "ssd.glsl"
#include "ssd_tile.glsl"
float left(uint i, uint l) { return i < row_count() ? g.c.v[(first_row() + i) * g.ldc + gl_WorkGroupID.y * g.n + l] : 0.0; }
float right(uint l, uint j) { return j < row_count() ? g.b.v[(first_row() + j) * g.ldb + gl_WorkGroupID.y * g.n + l] : 0.0; }
void main() {
	chunk = gl_WorkGroupID.z;
	clear_tile();
	PRODUCT(0, g.n, left, false, right, true)
	FOR_TILE(i, j) g.gram.v[((chunk * g.groups + gl_WorkGroupID.y) * CHUNK + tile_row(i)) * CHUNK + tile_column(j)] = tile[i * TN + j];
}
