package kernel

// rowGrain is the number of rows per task of a row-wise kernel.
const rowGrain = 8

// columnGrain is the number of columns per task of a sum over the rows.
const columnGrain = 128

// elementGrain is the number of elements per task of an elementwise kernel: a multiple of every vector width, so that
// the position of the split does not affect the result.
const elementGrain = 16384
