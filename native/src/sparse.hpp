// Layers of sparse weights of one size, as additions: what follows each other without Python in between.
#pragma once

#include <variant>
#include <vector>

#include "sparse_kernels.hpp"

namespace holdfast {

// Elements of a tensor put elsewhere: four nested loops, the innermost last. Floats. `slot` names the tensor among
// those given to `run` that is read, or is negative: then it is the arena.
struct SparseCopy {
    Index slot, from, to;
    Index size[4], from_step[4], to_step[4];
};

// A layer that reads and writes the arena; offsets into it in floats.
struct SparseSums {
    SparseWeights weights;
    const int* inside;
    SparseGrid grid;  // its columns as many floats; in_column and out_column 0 where they lie side by side
    Index channels, kept;
    Index in, residual, out;  // residual negative: none
    Index plane, tile;
    float lowest, highest;
};

using SparseStep = std::variant<SparseCopy, SparseSums>;

// The tensors that the steps point to are the caller's, and outlive them.
struct SparseProgram {
    std::vector<SparseStep> steps;

    // `seconds`, if not null, receives the time of each step.
    void run(const SparseKernels&, float* arena, const std::vector<const float*>& given,
             double* seconds = nullptr) const;
};

constexpr Index SPARSE_PIXEL = 16;  // images of which a pixel is one unit where the batch lies in the lanes

}  // namespace holdfast
