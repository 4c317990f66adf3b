// The state space duality of package kernel's ssd.go and ssd_ref.go, in chunks of CHUNK rows. Let s_i be the sum of Δ·A over
// the rows of a chunk up to row i, s_q that of its last row, S the state before the chunk, S' the state after it, and G_ij = C_i·B_j.
// Four factors weight what flows
//
//	E_ij   = e^{s_i − s_j}   from row j to row i, for j ≤ i in one document
//	into_i = e^{s_i}         from S to row i, if row i's document began before the chunk
//	fade_j = e^{s_q − s_j}   from row j to S', if row j and the last row are in one document
//	all    = e^{s_q}         from S to S', if no document starts in the chunk
//
// They are 0 otherwise. Then
//
//	y_i = Σ_j G_ij·E_ij·Δ_j·x_j + into_i·S·C_i + D·x_i
//	S'  = all·S + Σ_j fade_j·Δ_j·x_j·B_jᵀ
//
// are products of small matrices. All chunks and heads run in parallel, except for one short pass from chunk to chunk:
//
//	ssd_decay  Δ, s, and all
//	ssd_gram   G
//	ssd_state  the state after each chunk, starting from zero
//	ssd_carry  the state before each chunk
//	ssd_out    y
//
// The backward pass, with γ = dy, Λ the gradient of S', K_ij = γ_i·x_j, and u_j = Σ_i G_ij·E_ij·γ_i + fade_j·Λ·B_j, is
//
//	ssd_state, ssd_carry  Λ, from the last chunk to the first: Λ = all·Λ' + Σ_i into_i·γ_i·C_iᵀ
//	ssd_pairs  W_ij = Σ_heads K_ij·E_ij·Δ_j, and V_ij = G_ij·E_ij·K_ij·Δ_j, the gradient of s_i − s_j
//	ssd_x_grad  dx_j = Δ_j·u_j + D·γ_j, and dot products of rows for the other gradients
//	ssd_bc_grad  dC_i = Σ_j W_ij·B_j + Σ_heads into_i·Sᵀ·γ_i,  dB_j = Σ_i W_ij·C_i + Σ_heads fade_j·Δ_j·Λᵀ·x_j
//	ssd_dt_grad  the gradients of dt, dt_bias, A_log, and D, from that of Δ·A: da_k = Σ_{j<k≤i} V_ij + …
//
// s is stored as a sum of two floats, so that the difference of neighboring rows is accurate even if s is large.
//
// A shader that includes this declares g with the fields it uses, including s and s_low (rows, heads), first, rows, and heads.
const uint CHUNK = 64;

uint chunk, head; // what the group of threads computes

uint first_row() { return chunk * CHUNK; }
uint last_row() { return min(g.rows, first_row() + CHUNK) - 1; }
uint row_count() { return last_row() + 1 - first_row(); }

// difference returns s_i − s_j for rows i and j of the chunk.
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
