// The selective scan in chunks of CHUNK rows, see package kernel's scan_ref.go. Let S be the sum of Δ over a chunk: the decay across
// the chunk is exp(S·A), whatever is in it. So chunks run in parallel but for one short pass from chunk to chunk:
//
//	scan_chunk  the state after each chunk as if it began with zeros, and S
//	scan_carry  the state before each chunk, which is what the backward pass wants saved
//	scan_out    y
//
// and the backward pass likewise, from the last chunk to the first.
//
// Four threads share a channel, each with a quarter of its states, and add up over their quad: every device with subgroups has
// quads, whatever the size of a subgroup.
#extension GL_KHR_shader_subgroup_quad : require
layout(constant_id = 0) const uint N = 16;        // states
layout(constant_id = 1) const uint CHANNELS = 16; // of a group
layout(local_size_x_id = 2) in;                   // 4·CHANNELS
const uint Q = (N + 3) / 4;
const uint CHUNK = 64;

#define EACH_STATE(j) [[unroll]] for (uint j = 0; j < Q; j++)

// state is the number of the thread's state j, which may be beyond the last.
uint state(uint j) { return (gl_LocalInvocationID.x & 3) * Q + j; }
bool has(uint j) { return N % 4 == 0 || state(j) < N; }

uint channel() { return gl_WorkGroupID.x * CHANNELS + gl_LocalInvocationID.x / 4; }
uint chunk() { return gl_WorkGroupID.y; }
bool leads() { return (gl_LocalInvocationID.x & 3) == 0; } // its quad

float quad_sum(float x) {
	x += subgroupQuadSwapHorizontal(x);
	return x + subgroupQuadSwapVertical(x);
}

// decay_rate returns A for the thread's state j of channel c. A state beyond the last stays 0.
float decay_rate(Floats a_log, uint c, uint j) { return has(j) ? -exp(a_log.v[c * N + state(j)]) : 0.0; }

// element returns element (t, state j) of B or C.
float element(Floats m, uint ld, uint t, uint j) { return has(j) ? m.v[t * ld + state(j)] : 0.0; }

// load and save access the states (chunks, d, N) of the thread.
float load(Floats states, uint d, uint c, uint j) { return has(j) ? states.v[(chunk() * d + c) * N + state(j)] : 0.0; }
void save(Floats states, uint d, uint c, uint j, float h) {
	if (has(j)) states.v[(chunk() * d + c) * N + state(j)] = h;
}
