#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// The pass from chunk to chunk, with one thread for each channel and state. states[k] (d, n) is the state after chunk k, starting from
// zero, and is replaced by the state before chunk k. start is the state before the first chunk. The state after the last chunk is
// stored in end or added to it. Both may be absent. If BACKWARD is set, the states are gradients, and the pass runs from the last
// chunk to the first.
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint N = 16;
layout(constant_id = 1) const bool BACKWARD = false;
layout(push_constant) uniform Arguments {
	Floats states, sums, a_log, start, end;
	uint chunks, d, mode; // mode of end
};
void main() {
	uint e = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x, c = e / N;
	if (c >= d) return;
	float a = -exp(a_log.v[e]), h = present(start) ? start.v[e] : 0.0;
	for (uint i = 0; i < chunks; i++) {
		uint k = BACKWARD ? chunks - 1 - i : i;
		float made = states.v[k * d * N + e], sum = sums.v[k * d + c];
		states.v[k * d * N + e] = h;
		h = sum < 0.0 ? made : fma(exp(sum * a), h, made);
	}
	if (present(end)) store(end, e, h, mode);
}
