#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// The gradient of dt, and each chunk's part of the gradients of dt_bias, A_log, and D: dbias, da_log, and dskip (chunks, heads). One
// group of threads computes one head of one chunk. ddt may be absent. The gradient of Δ·A at row k is
//
//	da_k = Σ_{j<k≤i} V_ij + Σ_{i≥k} γ·into·S·C + Σ_{j<k} Δ·x·fade·Λ·B + all·⟨Λ, S⟩
//
// which adds exactly the terms that pass through row k. Subtracting larger sums would be less accurate. Then dΔ = A·da + x·u, and the
// gradient of dt is dΔ·σ(dt + dt_bias) if Δ is within its limits, else 0.
const uint GROUP = 64;
#include "reduce.glsl"
layout(local_size_x = GROUP) in;
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Arguments {
	Floats ddt, da_log, dbias, dskip, dt, bias, a_log, all;
	SharedFloats v;
	Floats dots, states, after, delta, s, s_low;
	Ints first;
	uint ldddt, lddt;
	uint rows, heads, size, tiles, mode; // size: number of elements of a head's state
	float least, most;
};
layout(push_constant) uniform Push { Arguments g; };
#include "ssd.glsl"
shared float reach[GROUP], faded[GROUP], da[GROUP];

// dot_of returns dot product k of row t, as computed by ssd_x_grad.
float dot_of(uint k, uint t) {
	float sum = 0.0;
	for (uint x = 0; x < g.tiles; x++) sum += g.dots.v[((x * 4 + k) * g.rows + t) * g.heads + head];
	return sum;
}

// slope returns the derivative of Δ, which is 0 outside the limits. At a limit it is that of softplus.
float slope(float raw) {
	float delta = softplus(raw);
	return delta < g.least || delta > g.most ? 0.0 : softplus_grad(raw);
}

// pairs returns Σ_{j<k≤i} V_ij for the thread's row k. It first replaces column k of V by its running sums from the last row up.
float pairs(uint k, uint rows) {
	uint place = gl_WorkGroupID.x * CHUNK * CHUNK;
	float sum = 0.0;
	for (int i = int(rows) - 1; i >= 0; i--) {
		uint at = place + i * CHUNK + k;
		sum += g.v.v[at];
		g.v.v[at] = sum;
	}
	memoryBarrierBuffer();
	barrier();
	sum = 0.0;
	for (uint j = 0; j < k && k < rows; j++) sum += g.v.v[place + k * CHUNK + j];
	return sum;
}

// across returns all·⟨Λ, S⟩.
float across() {
	float all = g.all.v[gl_WorkGroupID.x], sum = 0.0;
	if (all != 0.0)
		for (uint e = gl_LocalInvocationID.x; e < g.size; e += GROUP)
			sum = fma(g.after.v[gl_WorkGroupID.x * g.size + e], g.states.v[gl_WorkGroupID.x * g.size + e], sum);
	return all * group_sum(sum);
}

// pass_through sets da to the second and third sums of da_k, those with the state before the chunk and the state after it.
void pass_through(uint rows) {
	float sum = 0.0;
	for (int k = int(rows) - 1; k >= 0; k--) {
		sum += reach[k];
		da[k] = sum;
	}
	sum = 0.0;
	for (uint k = 0; k < rows; k++) {
		da[k] += sum;
		sum += faded[k];
	}
}

void main() {
	chunk = gl_WorkGroupID.x / g.heads;
	head = gl_WorkGroupID.x % g.heads;
	uint k = gl_LocalInvocationID.x, rows = row_count(), t = first_row() + min(k, rows - 1), at = t * g.heads + head;
	bool live = k < rows;
	reach[k] = live ? dot_of(0, t) : 0.0;
	faded[k] = live ? dot_of(1, t) : 0.0;
	barrier();
	if (k == 0) pass_through(rows);
	barrier();
	float decay_grad = across() + pairs(k, rows) + (live ? da[k] : 0.0);
	float a = -exp(g.a_log.v[head]), raw = g.dt.v[t * g.lddt + head] + g.bias.v[head];
	float d = live ? (a * decay_grad + dot_of(2, t)) * slope(raw) : 0.0;
	if (live && present(g.ddt)) store(g.ddt, t * g.ldddt + head, d, g.mode);
	float da_log = group_sum(live ? a * g.delta.v[at] * decay_grad : 0.0), dbias = group_sum(d);
	float dskip = group_sum(live ? dot_of(3, t) : 0.0);
	if (k == 0) {
		g.da_log.v[gl_WorkGroupID.x] = da_log;
		g.dbias.v[gl_WorkGroupID.x] = dbias;
		g.dskip.v[gl_WorkGroupID.x] = dskip;
	}
}
