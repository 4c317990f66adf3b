#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// y = x / √(mean(x²) + eps) ∘ w. One group computes each row. If w is absent, it is taken to be 1. y may be the same array as x.
const uint GROUP = 128;
#include "reduce.glsl"
layout(local_size_x = GROUP) in;
layout(push_constant) uniform Arguments {
	Floats y, x, w;
	uint ldy, ldx;
	uint m;
	float eps;
};
void main() {
	uint row = gl_WorkGroupID.x, i = gl_LocalInvocationID.x;
	float sum = 0.0;
	for (uint j = i; j < m; j += GROUP) sum = fma(x.v[row * ldx + j], x.v[row * ldx + j], sum);
	float s = 1.0 / sqrt(group_sum(sum) / float(m) + eps);
	for (uint j = i; j < m; j += GROUP) y.v[row * ldy + j] = x.v[row * ldx + j] * s * (present(w) ? w.v[j] : 1.0);
}
