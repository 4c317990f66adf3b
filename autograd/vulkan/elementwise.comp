#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// y (rows, cols) is set to x, y + x, or y + b with b added to each row, depending on OPERATION.
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint OPERATION = 0;
layout(push_constant) uniform Arguments {
	Floats y, x;
	uint ldy, ldx;
	uint cols;
};
const uint COPY = 0, ADD_TO = 1, ADD_ROW = 2;
void main() {
	uint j = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x, r = gl_WorkGroupID.y;
	if (j >= cols) return;
	uint at = r * ldy + j;
	switch (OPERATION) {
	case COPY: y.v[at] = x.v[r * ldx + j]; break;
	case ADD_TO: y.v[at] += x.v[r * ldx + j]; break;
	case ADD_ROW: y.v[at] += x.v[j]; break;
	}
}
