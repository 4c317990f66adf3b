// The selective scan of package kernel's scan_ref.go, in chunks of CHUNK rows. If S is the sum of Δ over a chunk, the chunk's decay
// is exp(S·A). So all chunks run in parallel, except for one short pass from chunk to chunk:
//
//	scan_chunk  the state after each chunk, starting from zero, and S
//	scan_carry  the state before each chunk, which is saved for the backward pass
//	scan_out    y
//
// The backward pass does the same from the last chunk to the first.
//
// Four threads share a channel. Each has a quarter of the states, and sums over states are taken over the quad: every device that
// has subgroups can add over quads, whatever its subgroup size.
#extension GL_KHR_shader_subgroup_quad : require
layout(constant_id = 0) const uint N = 16;        // states
layout(constant_id = 1) const uint CHANNELS = 16; // per group of threads
layout(local_size_x_id = 2) in;                   // 4·CHANNELS
const uint Q = (N + 3) / 4;
const uint CHUNK = 64;

#define EACH_STATE(j) [[unroll]] for (uint j = 0; j < Q; j++)

// state returns the index of the thread's state j, which may be out of range.
uint state(uint j) { return (gl_LocalInvocationID.x & 3) * Q + j; }
bool has(uint j) { return N % 4 == 0 || state(j) < N; }

uint channel() { return gl_WorkGroupID.x * CHANNELS + gl_LocalInvocationID.x / 4; }
uint chunk() { return gl_WorkGroupID.y; }
bool leads() { return (gl_LocalInvocationID.x & 3) == 0; } // first thread of its quad

float quad_sum(float x) {
	x += subgroupQuadSwapHorizontal(x);
	return x + subgroupQuadSwapVertical(x);
}

// decay_rate returns A for the thread's state j of channel c, or 0 if that state is out of range.
float decay_rate(Floats a_log, uint c, uint j) { return has(j) ? -exp(a_log.v[c * N + state(j)]) : 0.0; }

// element returns element (t, state(j)) of B or C, or 0 if the state is out of range.
float element(Floats m, uint ld, uint t, uint j) { return has(j) ? m.v[t * ld + state(j)] : 0.0; }

// load and save access the thread's state j in states (chunks, d, N).
float load(Floats states, uint d, uint c, uint j) { return has(j) ? states.v[(chunk() * d + c) * N + state(j)] : 0.0; }
void save(Floats states, uint d, uint c, uint j, float h) {
	if (has(j)) states.v[(chunk() * d + c) * N + state(j)] = h;
}
