#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// One step of AdamW, as in package kernel's adamw_ref.go.
layout(local_size_x = 256) in;
layout(push_constant) uniform Arguments {
	Floats w, m, v, g;
	uint n;
	float scale, beta1, rest1, beta2, rest2, keep, rate, root, eps;
};
void main() {
	uint i = gl_WorkGroupID.x * 256 + gl_LocalInvocationID.x;
	if (i >= n) return;
	float gi = g.v[i] * scale;
	float mi = beta1 * m.v[i] + rest1 * gi, vi = beta2 * v.v[i] + rest2 * gi * gi;
	m.v[i] = mi;
	v.v[i] = vi;
	w.v[i] = w.v[i] * keep - rate * mi / (sqrt(vi) * root + eps);
}
