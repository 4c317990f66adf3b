#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// x (n) is replaced by k·x or by 1/√x (0 if x is 0), depending on OPERATION.
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint OPERATION = 0;
layout(push_constant) uniform Arguments {
	Floats x;
	uint n;
	float k;
};
const uint SCALE = 0, INVERSE_ROOT = 1;
void main() {
	uint i = gl_WorkGroupID.x * 256 + gl_LocalInvocationID.x;
	if (i >= n) return;
	switch (OPERATION) {
	case SCALE: x.v[i] *= k; break;
	case INVERSE_ROOT: x.v[i] = x.v[i] == 0.0 ? 0.0 : 1.0 / sqrt(x.v[i]); break;
	}
}
