// Sums and maxima over the GROUP threads of a group. The order of the additions depends on GROUP alone.
shared float partial[GROUP];

float group_sum(float x) {
	uint i = gl_LocalInvocationID.x;
	barrier(); // wait until the previous result has been read
	partial[i] = x;
	barrier();
	[[unroll]] for (uint half_ = GROUP / 2; half_ > 0; half_ /= 2) {
		if (i < half_) partial[i] += partial[i + half_];
		barrier();
	}
	return partial[0];
}

float group_max(float x) {
	uint i = gl_LocalInvocationID.x;
	barrier();
	partial[i] = x;
	barrier();
	[[unroll]] for (uint half_ = GROUP / 2; half_ > 0; half_ /= 2) {
		if (i < half_) partial[i] = max(partial[i], partial[i + half_]);
		barrier();
	}
	return partial[0];
}
