#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// delta, s, and s_low (rows, heads), and all (chunks, heads). One thread computes each chunk and head.
layout(local_size_x = 64) in;
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Arguments {
	Floats delta, s, s_low, all, dt, bias, a_log;
	Ints first;
	uint lddt;
	uint rows, heads;
	float least, most; // limits of Δ
};
layout(push_constant) uniform Push { Arguments g; };
#include "ssd.glsl"
void main() {
	uint e = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x;
	chunk = e / g.heads;
	head = e % g.heads;
	if (first_row() >= g.rows) return;
	float a = -exp(g.a_log.v[head]);
	precise float sum = 0.0, low = 0.0;
	for (uint t = first_row(); t <= last_row(); t++) {
		float delta = clamp(softplus(g.dt.v[t * g.lddt + head] + g.bias.v[head]), g.least, g.most);
		precise float term = delta * a, next = sum + term, back = next - sum;
		low += (sum - (next - back)) + (term - back); // rounding error of next
		sum = next;
		uint at = t * g.heads + head;
		g.delta.v[at] = delta;
		g.s.v[at] = sum;
		g.s_low.v[at] = low;
	}
	g.all.v[e] = g.first.v[last_row()] < int(first_row()) ? exp(sum) : 0.0;
}
