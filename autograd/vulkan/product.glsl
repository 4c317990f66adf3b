// Products of matrices by tiles. A group of threads makes BM × BN elements of the result, TM × TN in each thread. The operands
// are functions of their place, brought to shared memory BK steps of the sum at a time.
//
// A shader defines the constants, among them UNROLLED, which divides BK; TM and TN are multiples of four. It declares
//
//	float left(uint i, uint l)     element i, l of the left operand
//	float right(uint l, uint j)    element l, j of the right operand
//
// with i and j counted within the tile, and adds the products with PRODUCT(from, to, left, left_down, right, right_down). Operands
// are 0 outside their bounds. left_down and right_down say that neighbors in memory are neighbors in i, and in l: threads read
// in that order.
//
// A thread's rows and columns come in fours, which it reads from shared memory at once.
const uint LEFT_STRIDE = BM / 4 + 1, RIGHT_STRIDE = BN / 4 + 1; // in vectors; the odd one keeps writes in different banks
shared vec4 left_tile[BK * LEFT_STRIDE];
shared vec4 right_tile[BK * RIGHT_STRIDE];
float tile[TM * TN];

const uint ACROSS = BN / TN, DOWN = BM / TM, THREADS = DOWN * ACROSS;

void clear_tile() {
	[[unroll]] for (uint e = 0; e < TM * TN; e++) tile[e] = 0.0;
}

// row and column of the tile for element (a, b) of the thread.
uint tile_row(uint a) { return (a / 4 * DOWN + gl_LocalInvocationID.x / ACROSS) * 4 + a % 4; }
uint tile_column(uint b) { return (b / 4 * ACROSS + gl_LocalInvocationID.x % ACROSS) * 4 + b % 4; }

// multiply_step adds step l of those in shared memory.
void multiply_step(uint l) {
	vec4 x[TM / 4], y[TN / 4];
	[[unroll]] for (uint a = 0; a < TM / 4; a++) x[a] = left_tile[l * LEFT_STRIDE + tile_row(4 * a) / 4];
	[[unroll]] for (uint b = 0; b < TN / 4; b++) y[b] = right_tile[l * RIGHT_STRIDE + tile_column(4 * b) / 4];
	[[unroll]] for (uint a = 0; a < TM; a++)
		[[unroll]] for (uint b = 0; b < TN; b++) tile[a * TN + b] = fma(x[a / 4][a % 4], y[b / 4][b % 4], tile[a * TN + b]);
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
