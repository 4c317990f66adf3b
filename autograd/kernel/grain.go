package kernel

// rowGrain is how many rows one task of a row-wise kernel takes.
const rowGrain = 8

// columnGrain is how many columns one task takes where a sum runs down the rows.
const columnGrain = 128

// elementGrain is how many elements one task of an elementwise kernel takes: a multiple of every vector width, so that
// where the split falls changes no bit.
const elementGrain = 16384
