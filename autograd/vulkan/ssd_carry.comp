#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// The pass from chunk to chunk, with one thread for each element of the state. states[k] (heads, size) is the state after chunk k,
// starting from zero, and is replaced by the state before chunk k. start is the state before the first chunk. The state after the
// last chunk is stored in end or added to it. Both may be absent. If BACKWARD is set, the states are gradients, and the pass runs
// from the last chunk to the first.
layout(local_size_x = 64) in;
layout(constant_id = 0) const bool BACKWARD = false;
layout(push_constant) uniform Arguments {
	Floats states, all, start, end;
	uint chunks, heads, size, mode; // mode of end
};
void main() {
	uint e = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x, head = e / size;
	if (head >= heads) return;
	float h = present(start) ? start.v[e] : 0.0;
	for (uint i = 0; i < chunks; i++) {
		uint k = BACKWARD ? chunks - 1 - i : i, at = k * heads * size + e;
		float made = states.v[at];
		states.v[at] = h;
		h = fma(all.v[k * heads + head], h, made);
	}
	if (present(end)) store(end, e, h, mode);
}
