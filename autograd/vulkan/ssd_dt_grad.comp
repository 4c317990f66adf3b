#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// The gradients of dt, and the chunk's shares of those of dt_bias, A_log and D: da_log, dbias and dskip (chunks, heads). A group
// of threads takes one head through one chunk. With ds the gradient of s, da_t = Σ ds over the rows from t to the end of
// its document, dΔ = A·da + x·u, and dt gets dΔ·σ(dt + dt_bias) where Δ is within its limits. dt's own may be absent.
const uint GROUP = 64;
#include "reduce.glsl"
layout(local_size_x = GROUP) in;
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Arguments {
	Floats ddt, da_log, dbias, dskip, dt, bias, a_log, all, ds, dots, states, after, delta, s, s_low;
	Ints first;
	uint ldddt, lddt;
	uint rows, heads, size, tiles, mode; // size: elements of a head's state
	float least, most;
};
layout(push_constant) uniform Push { Arguments g; };
#include "ssd.glsl"
shared float ds[GROUP], da[GROUP];
shared bool starts[GROUP]; // a document

// dot returns product number k of row t, see ssd_x_grad.
float dot_of(uint k, uint t) {
	float sum = 0.0;
	for (uint x = 0; x < g.tiles; x++) sum += g.dots.v[((x * 4 + k) * g.rows + t) * g.heads + head];
	return sum;
}

// slope returns the derivative of Δ. At the limits themselves it is that of softplus.
float slope(float raw) {
	float delta = softplus(raw);
	return delta < g.least || delta > g.most ? 0.0 : softplus_grad(raw);
}

void main() {
	chunk = gl_WorkGroupID.x / g.heads;
	head = gl_WorkGroupID.x % g.heads;
	uint i = gl_LocalInvocationID.x, rows = row_count(), t = first_row() + min(i, rows - 1), at = t * g.heads + head;
	bool live = i < rows;
	float across = 0.0, all = g.all.v[gl_WorkGroupID.x];
	if (all != 0.0)
		for (uint e = i; e < g.size; e += GROUP)
			across = fma(g.after.v[gl_WorkGroupID.x * g.size + e], g.states.v[gl_WorkGroupID.x * g.size + e], across);
	float faded = live ? dot_of(1, t) : 0.0;
	float end = all * group_sum(across) + group_sum(faded); // the gradient of s_q
	starts[i] = g.first.v[t] == int(t);
	ds[i] = live ? g.ds.v[at] + dot_of(0, t) - faded + (i == rows - 1 ? end : 0.0) : 0.0;
	barrier();
	if (i == 0) {
		float sum = 0.0;
		for (int r = int(rows) - 1; r >= 0; r--) {
			sum += ds[r];
			da[r] = starts[r] ? 0.0 : sum; // nothing decays into the first row
			if (starts[r]) sum = 0.0;
		}
	}
	barrier();
	float a = -exp(g.a_log.v[head]), raw = g.dt.v[t * g.lddt + head] + g.bias.v[head];
	float d = live ? (a * da[min(i, rows - 1)] + dot_of(2, t)) * slope(raw) : 0.0;
	if (live && present(g.ddt)) store(g.ddt, t * g.ldddt + head, d, g.mode);
	float da_log = group_sum(live ? a * g.delta.v[at] * da[min(i, rows - 1)] : 0.0), dbias = group_sum(d);
	float dskip = group_sum(live ? dot_of(3, t) : 0.0);
	if (i == 0) {
		g.da_log.v[gl_WorkGroupID.x] = da_log;
		g.dbias.v[gl_WorkGroupID.x] = dbias;
		g.dskip.v[gl_WorkGroupID.x] = dskip;
	}
}
