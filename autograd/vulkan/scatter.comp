#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// Rows of x are added to rows of y, or to its columns if COLUMNS is set. The host sorts the rows by id: group s adds rows
// order(starts(s)) to order(starts(s+1)−1) of x, in this order, to row ids(s) of y.
layout(local_size_x = 64) in;
layout(constant_id = 0) const bool COLUMNS = false;
layout(push_constant) uniform Arguments {
	Floats y, x;
	Ints order, starts, ids;
	uint ldy, ldx;
	uint cols;
};
void main() {
	uint j = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x, s = gl_WorkGroupID.y;
	if (j >= cols) return;
	uint id = ids.v[s], at = COLUMNS ? j * ldy + id : id * ldy + j;
	float sum = y.v[at];
	for (int i = starts.v[s]; i < starts.v[s + 1]; i++) sum += x.v[order.v[i] * ldx + j];
	y.v[at] = sum;
}
