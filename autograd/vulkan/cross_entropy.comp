#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// Cross-entropy with label smoothing. One group computes each row of logits (rows, v): nll = log Σ exp − (1−ε)·target − ε·mean.
// dlogits, if present, receives the gradient of scale·Σ nll; it may be the same array as logits. hits, if present, is set to 1 for
// a row in which the target is the first of the largest logits, else to 0. Rows with a negative target are ignored: all their
// results are 0.
const uint GROUP = 256;
#include "reduce.glsl"
layout(local_size_x = GROUP) in;
layout(push_constant) uniform Arguments {
	Floats nll, hits, dlogits, logits;
	Ints targets;
	uint lddlogits, ldlogits;
	uint v;
	float scale, smoothing;
};

// first_largest returns 1 if the target is the first column with the row's largest logit, else 0.
float first_largest(uint row, int target) {
	float hit = logits.v[row * ldlogits + target], better = 0.0;
	for (uint j = gl_LocalInvocationID.x; j < v; j += GROUP) {
		float x = logits.v[row * ldlogits + j];
		if (x > hit || x == hit && int(j) < target) better = 1.0;
	}
	return 1.0 - group_max(better);
}

void main() {
	uint row = gl_WorkGroupID.x, i = gl_LocalInvocationID.x, at = row * ldlogits;
	int target = targets.v[row];
	if (target < 0) { // uniform within the group
		if (i == 0) nll.v[row] = 0.0;
		if (i == 0 && present(hits)) hits.v[row] = 0.0;
		if (present(dlogits))
			for (uint j = i; j < v; j += GROUP) dlogits.v[row * lddlogits + j] = 0.0;
		return;
	}
	float top = -3.4e38, exps = 0.0, sum = 0.0;
	for (uint j = i; j < v; j += GROUP) { // one pass: the sum is rescaled when the maximum grows
		float x = logits.v[at + j];
		if (x > top) {
			exps *= exp(top - x);
			top = x;
		}
		exps += exp(x - top);
		sum += x;
	}
	float largest = group_max(top);
	exps = group_sum(exps * exp(top - largest));
	float mean = group_sum(sum) / float(v);
	if (present(hits)) {
		float hit = first_largest(row, target);
		if (i == 0) hits.v[row] = hit;
	}
	if (i == 0) nll.v[row] = largest + log(exps) - (1.0 - smoothing) * logits.v[at + target] - smoothing * mean;
	if (!present(dlogits)) return;
	barrier(); // dlogits may overwrite logits, so wait until the target's logit has been read
	float k = scale / exps, uniform_part = scale * smoothing / float(v);
	for (uint j = i; j < v; j += GROUP) {
		float g = k * exp(logits.v[at + j] - largest) - uniform_part;
		if (int(j) == target) g -= scale * (1.0 - smoothing);
		dlogits.v[row * lddlogits + j] = g;
	}
}
