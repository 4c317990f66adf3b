// Definitions for all shaders. Operands are passed as addresses, which needs no descriptor sets and does not limit the length of
// an array. The address of an absent operand is 0.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require

layout(buffer_reference, std430, buffer_reference_align = 4) buffer Floats { float v[]; };
// Threads of a group see each other's writes to SharedFloats after a barrier.
layout(buffer_reference, std430, buffer_reference_align = 4) coherent buffer SharedFloats { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Ints { int v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Words { uint v[]; };

bool present(Floats x) { return any(notEqual(uvec2(x), uvec2(0))); }

// widen returns element i of an array of bfloat16 numbers, which are stored in pairs with the first in the lower half.
float widen(Floats x, uint i) {
	uint pair = floatBitsToUint(x.v[i >> 1]);
	return uintBitsToFloat((i & 1) == 0 ? pair << 16 : pair & 0xffff0000u);
}

// store overwrites element i of x or adds to it, depending on mode.
const uint SET = 0, ADD = 1;
void store(Floats x, uint i, float value, uint mode) { x.v[i] = mode == ADD ? x.v[i] + value : value; }

// log1p returns log(1 + x) for 0 ≤ x ≤ 1. Near 1, GLSL's log may be off by 2⁻²¹, which for a time step of 0.001 is a
// relative error of 5e-4.
float log1p(float x) {
	if (x > 0.2) return log(1.0 + x);
	float t = x / (2.0 + x), s = t * t; // 2·atanh(t)
	return 2.0 * t * (1.0 + s * (0.33333333 + s * (0.2 + s * (0.14285715 + s * 0.11111111))));
}

float softplus(float x) { return x > 20.0 ? x : max(x, 0.0) + log1p(exp(-abs(x))); }

float sigmoid(float x) {
	float e = exp(-abs(x));
	return (x >= 0.0 ? 1.0 : e) / (1.0 + e);
}

// softplus_grad is the derivative of softplus.
float softplus_grad(float x) { return x > 20.0 ? 1.0 : sigmoid(x); }

float silu(float x) { return x * sigmoid(x); }

float silu_grad(float x) {
	float s = sigmoid(x);
	return s * (1.0 + x * (1.0 - s));
}
