// The matrix products of ssd.glsl. Each group of threads computes one tile.
const uint BM = 64, BN = 64, BK = 16, TM = 4, TN = 4;
layout(constant_id = 0) const uint UNROLLED = 16;
layout(local_size_x = 256) in;
#include "product.glsl"

// sum_rows adds the elements of each row of the tile in a fixed order and returns the sum of row i to thread i.
float sum_rows(float values[TM * TN]) {
	barrier();
	[[unroll]] for (uint a = 0; a < TM; a++) {
		float sum = 0.0;
		[[unroll]] for (uint b = 0; b < TN; b++) sum += values[a * TN + b];
		uint at = tile_row(a) * ACROSS + gl_LocalInvocationID.x % ACROSS;
		left_tile[at / 4][at % 4] = sum;
	}
	barrier();
	float sum = 0.0;
	uint row = gl_LocalInvocationID.x;
	if (row < BM)
		for (uint x = row * ACROSS; x < (row + 1) * ACROSS; x++) sum += left_tile[x / 4][x % 4];
	barrier();
	return sum;
}
