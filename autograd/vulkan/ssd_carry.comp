#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// From chunk to chunk, a thread for each element of a state: states[k] (heads, size), what chunk k makes from zeros, becomes what
// comes into it. With BACKWARD the last chunk comes first. start is what comes into the first one, end receives what
// leaves the last one, or is added to; both may be absent.
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
