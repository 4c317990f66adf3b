#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// The forward pass of the convolution: y(t, c) = act(s(t, c)).
layout(local_size_x = 64) in;
layout(push_constant) uniform Arguments {
	Floats y, x, w, bias, carry;
	Ints first;
	uint ldy, ldx;
	uint d;
};
#include "conv.glsl"
void main() {
	uint c = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x, t = gl_WorkGroupID.y;
	if (c < d) y.v[t * ldy + c] = activate(sum_taps(int(t), c));
}
