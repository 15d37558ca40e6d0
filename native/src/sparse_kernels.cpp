// Compiled once per instruction set (HOLDFAST_VARIANT, HOLDFAST_WIDTH doubles to a register).
#include "sparse_kernels.hpp"

#include "vectors.hpp"

namespace holdfast {
namespace {

constexpr Index LANES = 2 * W;
typedef float Wide __attribute__((vector_size(4 * LANES)));
typedef int WideInts __attribute__((vector_size(4 * LANES)));
typedef Wide LooseWide __attribute__((aligned(4), may_alias));
typedef WideInts LooseInts __attribute__((aligned(4), may_alias));

inline Wide wide(const float* p) { return *reinterpret_cast<const LooseWide*>(p); }

// One output channel at T vectors, which lie side by side if CLOSE.
template <int T, bool CLOSE>
inline void channel(const SparseWeights& weights, const SparseGrid& grid, const float* in, const SparseOutput& to,
                    Index m, Index at) {
    const Index in_step = CLOSE ? LANES : grid.in_column, out_step = CLOSE ? LANES : grid.out_column;
    Wide sums[T] = {};
    const int* plus = weights.offset + weights.start[2 * m];
    const int* minus = weights.offset + weights.start[2 * m + 1];
    const int *middle = minus, *end = weights.offset + weights.start[2 * m + 2];
    // One of each at a time: what is summed so far stays small, and so do rounding errors.
    for (; plus < middle && minus < end; ++plus, ++minus) {
        const float *a = in + *plus, *b = in + *minus;
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) sums[t] += wide(a + t * in_step) - wide(b + t * in_step);
    }
    for (; plus < middle; ++plus) {
        const float* from = in + *plus;
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) sums[t] += wide(from + t * in_step);
    }
    for (; minus < end; ++minus) {
        const float* from = in + *minus;
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) sums[t] -= wide(from + t * in_step);
    }
    const Index place = m * to.plane + at;
    const Wide scale = weights.scale[m] - Wide{}, shift = weights.shift[m] - Wide{};
    const Wide lowest = to.lowest - Wide{}, highest = to.highest - Wide{};
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
        Wide v = sums[t] * scale + shift;
        if (to.residual) v += wide(to.residual + place + t * out_step);
        v = v < lowest ? lowest : v;  // written so that a NaN stays one
        v = v > highest ? highest : v;
        if (to.inside) v = Wide(WideInts(v) & *reinterpret_cast<const LooseInts*>(to.inside + at + t * out_step));
        *reinterpret_cast<LooseWide*>(to.out + place + t * out_step) = v;
    }
}

// All channels of a tile before the next tile, so that what the tile reads stays in the first-level cache.
template <int T, bool CLOSE>
void tiles(const SparseWeights& weights, const SparseGrid& grid, const float* in, const SparseOutput& to,
           const SparsePart& part) {
    for (Index row = part.row_begin; row < part.row_end; ++row)
        for (Index column = part.column_begin; column + T <= part.column_end; column += T)
            for (Index m = part.first; m < part.last; ++m)
                channel<T, CLOSE>(weights, grid, in + row * grid.in_row + column * grid.in_column, to, m,
                                  row * grid.out_row + column * grid.out_column);
}

using Tiles = void (*)(const SparseWeights&, const SparseGrid&, const float*, const SparseOutput&,
                       const SparsePart&);

template <bool CLOSE>
Tiles tiles_of(Index tile) {
    constexpr Tiles table[SPARSE_TILE] = {tiles<1, CLOSE>, tiles<2, CLOSE>, tiles<3, CLOSE>, tiles<4, CLOSE>,
                                          tiles<5, CLOSE>, tiles<6, CLOSE>, tiles<7, CLOSE>, tiles<8, CLOSE>};
    return table[tile - 1];
}

void sums(const SparseWeights& weights, const SparseGrid& grid, const float* in, const SparseOutput& to, Index tile,
          const SparsePart& part) {
    const bool close = grid.in_column == LANES && grid.out_column == LANES;
    const auto run = [&](Index size, const SparsePart& some) {
        (close ? tiles_of<true>(size) : tiles_of<false>(size))(weights, grid, in, to, some);
    };
    const Index rest = (part.column_end - part.column_begin) % tile;
    SparsePart whole = part, last = part;
    whole.column_end = last.column_begin = part.column_end - rest;
    run(tile, whole);
    if (rest) run(rest, last);
}

}  // namespace

#define HOLDFAST_JOIN_(a, b) a##b
#define HOLDFAST_JOIN(a, b) HOLDFAST_JOIN_(a, b)
extern const SparseKernels HOLDFAST_JOIN(sparse_, HOLDFAST_VARIANT);
const SparseKernels HOLDFAST_JOIN(sparse_, HOLDFAST_VARIANT) = {LANES, sums};

}  // namespace holdfast
