#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// y(i, j) = table(ids(i), j), or table(j, ids(i)) if COLUMNS is set. If BF16 is set, the table is bfloat16.
layout(local_size_x = 64) in;
layout(constant_id = 0) const bool COLUMNS = false;
layout(constant_id = 1) const bool BF16 = false;
layout(push_constant) uniform Arguments {
	Floats y, table;
	Ints ids;
	uint ldy, ldtable;
	uint cols;
};
void main() {
	uint j = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x, r = gl_WorkGroupID.y;
	if (j >= cols) return;
	uint id = ids.v[r], at = COLUMNS ? j * ldtable + id : id * ldtable + j;
	y.v[r * ldy + j] = BF16 ? widen(table, at) : table.v[at];
}
