#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// The gradients of gated_norm with respect to y and z, as in package kernel's gatednorm_ref.go. inverse (rows, groups), if present,
// receives s = 1/√(mean(v²) + eps). dy and dz may be absent.
const uint GROUP = 128;
#include "reduce.glsl"
layout(local_size_x = GROUP) in;
layout(push_constant) uniform Arguments {
	Floats dy, dz, do_, y, z, w, inverse;
	uint lddy, lddz, lddo, ldy, ldz;
	uint width, groups, mode_y, mode_z;
	float eps;
};
void main() {
	uint row = gl_WorkGroupID.x, from = gl_WorkGroupID.y * width, i = gl_LocalInvocationID.x;
	float squares = 0.0, products = 0.0;
	for (uint j = from + i; j < from + width; j += GROUP) {
		float v = y.v[row * ldy + j] * silu(z.v[row * ldz + j]);
		squares = fma(v, v, squares);
		products = fma(w.v[j] * do_.v[row * lddo + j], v, products);
	}
	float s = 1.0 / sqrt(group_sum(squares) / float(width) + eps);
	float k = s * s * s * group_sum(products) / float(width);
	if (present(inverse) && i == 0) inverse.v[row * groups + gl_WorkGroupID.y] = s;
	for (uint j = from + i; j < from + width; j += GROUP) {
		float value = y.v[row * ldy + j], gate = z.v[row * ldz + j];
		float dv = s * w.v[j] * do_.v[row * lddo + j] - k * value * silu(gate);
		if (present(dy)) store(dy, row * lddy + j, dv * silu(gate), mode_y);
		if (present(dz)) store(dz, row * lddz + j, dv * value * silu_grad(gate), mode_z);
	}
}
