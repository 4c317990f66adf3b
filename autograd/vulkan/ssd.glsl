// The state space duality in chunks of CHUNK rows, see package kernel's ssd.go and ssd_ref.go. Within a chunk, with s the sum of Δ·A
// from its first row on, S the state before it, and G_ij = C_i·B_j,
//
//	E_ij   = e^{s_i − s_j}   for j ≤ i of one document, else 0      from row j to row i
//	into_i = e^{s_i}         if row i's document began before       from S to row i
//	fade_j = e^{s_q − s_j}   if it is the last row's document       from row j to the state after the chunk
//	all    = e^{s_q}         if no document starts in the chunk     from S to the state after the chunk
//
//	y_i = Σ_j G_ij·E_ij·Δ_j·x_j + into_i·S·C_i + D·x_i
//	S'  = all·S + Σ_j fade_j·Δ_j·x_j·B_jᵀ
//
// are products of small matrices, which chunks and heads compute in parallel, but for one short pass from chunk to chunk:
//
//	ssd_decay  Δ, s and all
//	ssd_gram   G
//	ssd_state  the state after each chunk as if it began with zeros
//	ssd_carry  the state before each chunk
//	ssd_out    y
//
// and backward, with γ = dy, Λ the gradient of S', K_ij = γ_i·x_j and u_j = Σ_i G_ij·E_ij·γ_i + fade_j·Λ·B_j,
//
//	ssd_state, ssd_carry  Λ, from the last chunk to the first: Λ = all·Λ' + Σ_i into_i·γ_i·C_iᵀ
//	ssd_pairs  W_ij = Σ_heads K_ij·E_ij·Δ_j, and V_ij = G_ij·E_ij·K_ij·Δ_j, the gradient of s_i − s_j
//	ssd_x_grad  dx_j = Δ_j·u_j + D·γ_j, and products of rows of x and γ that other gradients want
//	ssd_bc_grad  dC_i = Σ_j W_ij·B_j + Σ_heads into_i·Sᵀ·γ_i,  dB_j = Σ_i W_ij·C_i + Σ_heads fade_j·Δ_j·Λᵀ·x_j
//	ssd_dt_grad  what remains, from the gradient of Δ·A: da_k = Σ_{j<k≤i} V_ij + …
//
// s is a sum of two floats, so that the difference of two neighbors is precise even where s is large.
//
// A shader that includes this declares g with the fields that it uses, among them s, s_low (rows, heads), first, rows and heads.
const uint CHUNK = 64;

uint chunk, head; // that the group of threads computes

uint first_row() { return chunk * CHUNK; }
uint last_row() { return min(g.rows, first_row() + CHUNK) - 1; }
uint row_count() { return last_row() + 1 - first_row(); }

// difference returns s_i − s_j for rows of the chunk.
float difference(uint i, uint j) {
	uint a = (first_row() + i) * g.heads + head, b = (first_row() + j) * g.heads + head;
	return (g.s.v[a] - g.s.v[b]) + (g.s_low.v[a] - g.s_low.v[b]);
}

int document(uint i) { return g.first.v[first_row() + i]; }

// between returns E_ij.
float between(uint i, uint j) {
	return j <= i && document(i) <= int(first_row() + j) ? exp(difference(i, j)) : 0.0;
}

float into(uint i) { return document(i) < int(first_row()) ? exp(g.s.v[(first_row() + i) * g.heads + head]) : 0.0; }

float fade(uint j) {
	uint last = row_count() - 1;
	return document(last) <= int(first_row() + j) ? exp(difference(last, j)) : 0.0;
}
