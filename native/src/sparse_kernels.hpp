// The inner loop of sparse.hpp, one table per instruction set.
#pragma once

#include "kernels.hpp"

namespace holdfast {

// Kept weights of a layer, all of one size. Those of output channel m are offset[start[2m]] up to start[2m + 1],
// which are added, and on to start[2m + 2], which are subtracted; an offset is where the element lies that the
// weight meets at the first position, in floats.
struct SparseWeights {
    const int* start;
    const int* offset;
    const float* scale;  // of each output channel, as shift
    const float* shift;
};

// Output positions: rows of columns of vectors, and how far apart these lie, in floats.
struct SparseGrid {
    Index rows, columns;
    Index in_row, in_column, out_row, out_column;
};

// A part of a layer: half-open ranges.
struct SparsePart {
    Index first, last;  // output channels
    Index row_begin, row_end, column_begin, column_end;
};

// What becomes of the sums.
struct SparseOutput {
    const float* residual;  // added, laid out as out; or null
    const int* inside;      // of each position: all bits set where it belongs to the map, else 0; or null
    float* out;
    Index plane;            // floats from one channel to the next
    float lowest, highest;  // the activation
};

struct SparseKernels {
    Index lanes;  // floats in a vector
    // `tile` vectors of a row, 1 to SPARSE_TILE, stay in registers. Reads and writes whole vectors.
    void (*sums)(const SparseWeights&, const SparseGrid&, const float* in, const SparseOutput&, Index tile,
                 const SparsePart&);
};

constexpr Index SPARSE_TILE = 8;

extern const SparseKernels sparse_scalar;
#if HOLDFAST_NEON
extern const SparseKernels sparse_neon;
#endif
#if HOLDFAST_X86
extern const SparseKernels sparse_avx2;
extern const SparseKernels sparse_avx512;
#endif

}  // namespace holdfast
