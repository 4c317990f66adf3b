#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "scan.glsl"
// The gradients of one chunk, computed from the state before it and the gradient of the state after it. Package kernel's scan_ref.go
// derives them, with g = dy·silu(z) and λ for the gradient of the state. The states are recomputed in two steps: first the state
// before each block of ROWS rows, then those of one block at a time, which stay in registers. Sums over states are taken over the
// quad. dB and dC are sums over channels: they are added in shared memory, and each group of channels writes one part.
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Arguments {
	Floats u, dt, b, c, z, a_log, skip, saved, after, dy, du, ddt, dz, part, da, dskip;
	Ints first;
	uint ldu, lddt, ldb, ldc, ldz, lddy, lddu, ldddt, lddz;
	uint rows, d, mode_u, mode_dt, mode_z;
};
layout(push_constant) uniform Push { Arguments g; };
const uint ROWS = 8;
const uint BLOCKS = CHUNK / ROWS;
shared float shares[ROWS * CHANNELS * 2 * N]; // of dB and dC

uint ch;     // the thread's channel, or the last channel if !there
bool there;  // the thread has a channel
uint t0, t1; // the chunk's rows are t0 to t1−1
float a[Q], h[(ROWS + 1) * Q], lambda[Q], da[Q], dskip;

bool starts(uint t) { return g.first.v[t] == int(t); }
float delta(uint t) { return softplus(g.dt.v[t * g.lddt + ch]); }
float skip() { return present(g.skip) ? g.skip.v[ch] : 0.0; }

// advance returns state j after row t, given h, the state before it.
float advance(uint t, uint j, float h) {
	float step = delta(t), keep = starts(t) ? 0.0 : exp(step * a[j]);
	return fma(keep, h, step * g.u.v[t * g.ldu + ch] * element(g.b, g.ldb, t, j));
}

// gate_grad writes dz of row t and returns its dy·silu(z). h[r + 1] is the state after the row.
float gate_grad(uint t, uint r) {
	float gy = g.dy.v[t * g.lddy + ch];
	if (!present(g.z)) return gy;
	float y = 0.0, gate = g.z.v[t * g.ldz + ch];
	EACH_STATE(j) y = fma(h[(r + 1) * Q + j], element(g.c, g.ldc, t, j), y);
	y = quad_sum(y) + skip() * g.u.v[t * g.ldu + ch];
	if (leads() && there && present(g.dz)) store(g.dz, t * g.lddz + ch, gy * y * silu_grad(gate), g.mode_z);
	return gy * silu(gate);
}

// share stores what the thread adds to dB and dC for row r of the block and state j.
void share(uint r, uint j, float db, float dc) {
	if (!has(j)) return;
	uint at = (r * CHANNELS + gl_LocalInvocationID.x / 4) * 2 * N + state(j);
	shares[at] = there ? db : 0.0;
	shares[at + N] = there ? dc : 0.0;
}

// row computes the gradients of row t, which is row r of the block.
void row(uint t, uint r) {
	float gy = gate_grad(t, r), u = g.u.v[t * g.ldu + ch], raw = g.dt.v[t * g.lddt + ch], step = softplus(raw);
	float keep = starts(t) ? 0.0 : 1.0; // no gradient flows into the previous document
	float sum_b = 0.0, sum_a = 0.0;
	dskip = fma(gy, u, dskip);
	EACH_STATE(j) {
		lambda[j] = fma(gy, element(g.c, g.ldc, t, j), lambda[j]);
		share(r, j, lambda[j] * step * u, gy * h[(r + 1) * Q + j]);
		sum_b = fma(lambda[j], element(g.b, g.ldb, t, j), sum_b);
		lambda[j] *= keep * exp(step * a[j]);
		float q = lambda[j] * h[r * Q + j];
		sum_a = fma(q, a[j], sum_a);
		da[j] = fma(q, step, da[j]);
	}
	sum_b = quad_sum(sum_b);
	sum_a = quad_sum(sum_a);
	if (!leads() || !there) return;
	if (present(g.du)) store(g.du, t * g.lddu + ch, fma(sum_b, step, gy * skip()), g.mode_u);
	if (present(g.ddt)) store(g.ddt, t * g.ldddt + ch, fma(sum_b, u, sum_a) * softplus_grad(raw), g.mode_dt);
}

// sum_shares writes the group's part of dB and dC for ROWS rows, starting with row s.
void sum_shares(uint s) {
	barrier();
	for (uint e = gl_LocalInvocationID.x; e < ROWS * 2 * N; e += 4 * CHANNELS) {
		uint r = e / (2 * N), j = e % (2 * N);
		float sum = 0.0;
		for (uint x = 0; x < CHANNELS; x++) sum += shares[(r * CHANNELS + x) * 2 * N + j];
		if (s + r < t1) g.part.v[(gl_WorkGroupID.x * g.rows + s + r) * 2 * N + j] = sum;
	}
	barrier();
}

void main() {
	there = channel() < g.d;
	ch = min(channel(), g.d - 1);
	t0 = chunk() * CHUNK;
	t1 = min(g.rows, t0 + CHUNK);
	dskip = 0.0;
	float before[BLOCKS * Q]; // the states before each block; not in registers, so that all blocks can share one loop
	EACH_STATE(j) {
		a[j] = decay_rate(g.a_log, ch, j);
		h[j] = load(g.saved, g.d, ch, j);
		lambda[j] = load(g.after, g.d, ch, j);
		da[j] = 0.0;
	}
	[[dont_unroll]] for (uint i = 0; i < BLOCKS; i++) {
		EACH_STATE(j) before[i * Q + j] = h[j];
		if (i + 1 < BLOCKS)
			for (uint t = t0 + i * ROWS; t < min(t1, t0 + (i + 1) * ROWS); t++) { EACH_STATE(j) h[j] = advance(t, j, h[j]); }
	}
	[[dont_unroll]] for (int i = int(BLOCKS) - 1; i >= 0; i--) {
		uint s = t0 + i * ROWS;
		if (s >= t1) continue; // uniform within the group
		EACH_STATE(j) h[j] = before[i * Q + j];
		[[unroll]] for (uint r = 0; r < ROWS; r++) { EACH_STATE(j) h[(r + 1) * Q + j] = advance(min(s + r, g.rows - 1), j, h[r * Q + j]); }
		[[unroll]] for (int r = int(ROWS) - 1; r >= 0; r--)
			if (s + r < t1) row(s + r, r);
		sum_shares(s);
	}
	if (!there) return;
	if (present(g.da)) { EACH_STATE(j) save(g.da, g.d, ch, j, da[j] * a[j]); }
	if (present(g.dskip) && leads()) g.dskip.v[chunk() * g.d + ch] = dskip;
}
