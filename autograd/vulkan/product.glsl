// Tiled matrix products. A group of threads computes a tile of BM × BN elements of the result, and each thread TM × TN of them.
// The operands are functions of their indices. Their elements are copied to shared memory for BK steps of the sum at a time.
//
// A shader that includes this defines BM, BN, BK, TM, TN, and UNROLLED. TM and TN are multiples of four, and UNROLLED divides BK.
// It declares
//
//	float left(uint i, uint l)     element (i, l) of the left operand
//	float right(uint l, uint j)    element (l, j) of the right operand
//
// where i and j are relative to the tile, and both return 0 out of bounds. PRODUCT(from, to, left, left_down, right, right_down)
// adds the products of steps from to to−1. left_down is true if consecutive i are adjacent in memory, and right_down if
// consecutive l are: threads read in that order.
//
// A thread's rows and columns come in groups of four, so that it reads vectors from shared memory.

// The strides are in vectors. Each is one more than the tile needs, so that writes fall into different banks.
const uint LEFT_STRIDE = BM / 4 + 1, RIGHT_STRIDE = BN / 4 + 1;
shared vec4 left_tile[BK * LEFT_STRIDE];
shared vec4 right_tile[BK * RIGHT_STRIDE];
float tile[TM * TN];

const uint ACROSS = BN / TN, DOWN = BM / TM, THREADS = DOWN * ACROSS;

void clear_tile() {
	[[unroll]] for (uint e = 0; e < TM * TN; e++) tile[e] = 0.0;
}

// tile_row and tile_column return where element (a, b) of the thread is in the group's tile.
uint tile_row(uint a) { return (a / 4 * DOWN + gl_LocalInvocationID.x / ACROSS) * 4 + a % 4; }
uint tile_column(uint b) { return (b / 4 * ACROSS + gl_LocalInvocationID.x % ACROSS) * 4 + b % 4; }

// multiply_step adds the products of step l in shared memory.
void multiply_step(uint l) {
	vec4 x[TM / 4], y[TN / 4];
	[[unroll]] for (uint a = 0; a < TM / 4; a++) x[a] = left_tile[l * LEFT_STRIDE + tile_row(4 * a) / 4];
	[[unroll]] for (uint b = 0; b < TN / 4; b++) y[b] = right_tile[l * RIGHT_STRIDE + tile_column(4 * b) / 4];
	[[unroll]] for (uint a = 0; a < TM; a++)
		[[unroll]] for (uint b = 0; b < TN; b++) tile[a * TN + b] = fma(x[a / 4][a % 4], y[b / 4][b % 4], tile[a * TN + b]);
}

// multiply_tiles adds the products of all steps in shared memory, with the loop unrolled UNROLLED times.
void multiply_tiles() {
	[[dont_unroll]] for (uint l = 0; l < BK; l += UNROLLED) {
		[[unroll]] for (uint u = 0; u < UNROLLED; u++) multiply_step(l + u);
	}
}

#define PRODUCT(from, to, left, left_down, right, right_down)                                    \
	for (uint step = from; step < to; step += BK) {                                              \
		for (uint e = gl_LocalInvocationID.x; e < BM * BK; e += THREADS) {                       \
			uint i = left_down ? e % BM : e / BK, l = left_down ? e / BM : e % BK;               \
			left_tile[l * LEFT_STRIDE + i / 4][i % 4] = step + l < to ? left(i, step + l) : 0.0; \
		}                                                                                        \
		for (uint e = gl_LocalInvocationID.x; e < BN * BK; e += THREADS) {                       \
			uint j = right_down ? e / BK : e % BN, l = right_down ? e % BK : e / BN;             \
			right_tile[l * RIGHT_STRIDE + j / 4][j % 4] = step + l < to ? right(step + l, j) : 0.0; \
		}                                                                                        \
		barrier();                                                                               \
		multiply_tiles();                                                                        \
		barrier();                                                                               \
	}

#define FOR_TILE(a, b) \
	[[unroll]] for (uint a = 0; a < TM; a++) [[unroll]] for (uint b = 0; b < TN; b++)
