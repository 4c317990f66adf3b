// Products of matrices by tiles. A group of threads makes BM × BN elements of the result, TM × TN in each thread. The operands
// are functions of their place, brought to shared memory BK steps of the sum at a time.
//
// A shader defines the constants, among them UNROLLED, which divides BK; it declares
//
//	float left(uint i, uint l)     element i, l of the left operand
//	float right(uint l, uint j)    element l, j of the right operand
//
// with i and j counted within the tile, and adds the products with PRODUCT(depth, left, right). Operands are 0 outside their
// bounds. LEFT_DOWN and RIGHT_DOWN say that neighbors in memory are neighbors in i, and in l: threads read in that order.
shared float left_tile[BK * (BM + 1)];
shared float right_tile[BK * (BN + 1)];
float tile[TM * TN];

const uint THREADS = (BM / TM) * (BN / TN);

void clear_tile() {
	[[unroll]] for (uint e = 0; e < TM * TN; e++) tile[e] = 0.0;
}

// row and column of the tile for element (a, b) of the thread.
uint tile_row(uint a) { return gl_LocalInvocationID.x / (BN / TN) + a * (BM / TM); }
uint tile_column(uint b) { return gl_LocalInvocationID.x % (BN / TN) + b * (BN / TN); }

// multiply_step adds step l of those in shared memory.
void multiply_step(uint l) {
	float x[TM], y[TN];
	[[unroll]] for (uint a = 0; a < TM; a++) x[a] = left_tile[l * (BM + 1) + tile_row(a)];
	[[unroll]] for (uint b = 0; b < TN; b++) y[b] = right_tile[l * (BN + 1) + tile_column(b)];
	[[unroll]] for (uint a = 0; a < TM; a++)
		[[unroll]] for (uint b = 0; b < TN; b++) tile[a * TN + b] = fma(x[a], y[b], tile[a * TN + b]);
}

// multiply_tiles adds all steps, UNROLLED of them without a loop.
void multiply_tiles() {
	[[dont_unroll]] for (uint l = 0; l < BK; l += UNROLLED) {
		[[unroll]] for (uint u = 0; u < UNROLLED; u++) multiply_step(l + u);
	}
}

#define PRODUCT(from, to, left, left_down, right, right_down)                                    \
	for (uint step = from; step < to; step += BK) {                                              \
		for (uint e = gl_LocalInvocationID.x; e < BM * BK; e += THREADS) {                       \
			uint i = left_down ? e % BM : e / BK, l = left_down ? e / BM : e % BK;               \
			left_tile[l * (BM + 1) + i] = step + l < to ? left(i, step + l) : 0.0;               \
		}                                                                                        \
		for (uint e = gl_LocalInvocationID.x; e < BN * BK; e += THREADS) {                       \
			uint j = right_down ? e / BK : e % BN, l = right_down ? e % BK : e / BN;             \
			right_tile[l * (BN + 1) + j] = step + l < to ? right(step + l, j) : 0.0;             \
		}                                                                                        \
		barrier();                                                                               \
		multiply_tiles();                                                                        \
		barrier();                                                                               \
	}

#define FOR_TILE(a, b) \
	[[unroll]] for (uint a = 0; a < TM; a++) [[unroll]] for (uint b = 0; b < TN; b++)
