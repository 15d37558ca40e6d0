// What turns a layer's output into the next layer's input: activation, sum over the batch, statistics.
#pragma once

#include "vectors.hpp"

namespace holdfast {
namespace {

// As many floats as fill a register; their doubles are loaded anew, half a register at a time, for that is cheaper
// than to take a register to pieces.
constexpr Index F = 2 * W;
typedef float Singles __attribute__((vector_size(8 * W)));
typedef int SingleBits __attribute__((vector_size(8 * W)));
typedef Singles LooseSingles __attribute__((aligned(4), may_alias));

inline Singles load_singles(const float* p) { return *reinterpret_cast<const LooseSingles*>(p); }
inline void store(float* p, Singles v) { *reinterpret_cast<LooseSingles*>(p) = v; }
inline Singles magnitude(Singles v) { return (Singles)((SingleBits)v & 0x7fffffff); }
// Of no number and b the first.
inline Singles larger(Singles a, Singles b) {
#if HOLDFAST_WIDTH == 8 && defined(__AVX512F__)
    return Singles(_mm512_max_ps(__m512(b), __m512(a)));
#else
    return b > a ? b : a;
#endif
}
inline Singles smaller(Singles a, Singles b) {
#if HOLDFAST_WIDTH == 8 && defined(__AVX512F__)
    return Singles(_mm512_min_ps(__m512(b), __m512(a)));
#else
    return b < a ? b : a;
#endif
}
inline float larger(float a, float b) { return b > a ? b : a; }
inline float smaller(float a, float b) { return b < a ? b : a; }

// A NaN stays one.
template <Activation KIND, class V>
inline V activate(V v, V parameter) {
    const V zero = {};
    if (KIND == Activation::relu) return larger(v, zero);
    if (KIND == Activation::clamp) return smaller(larger(v, zero), parameter);
    if (KIND == Activation::leaky) return zero > v ? parameter * v : v;
    return v;
}

constexpr int UNROLL = W == 8 ? 4 : 2;  // vectors of floats that are taken together

// Statistics of a run, a vector for each of the elements that are taken together.
struct RunStats {
    Singles max_abs[UNROLL] = {};
    Doubles squares[UNROLL] = {}, total_max[UNROLL] = {}, total_squares[UNROLL] = {};
};

inline void fold(const RunStats& vectors, BatchStats& stats) {
    for (int k = 0; k < UNROLL; ++k) {
        for (Index lane = 0; lane < F; ++lane)
            stats.max_abs = larger(stats.max_abs, double(vectors.max_abs[k][lane]));
        for (Index lane = 0; lane < W; ++lane)
            stats.total_max_abs = larger(stats.total_max_abs, vectors.total_max[k][lane]);
        stats.sum_squares += sum(vectors.squares[k]);
        stats.total_squares += sum(vectors.total_squares[k]);
    }
}

// What vectors of the finished map add to its sum, `at` elements into it.
template <Sum SUM, int COUNT>
struct Adder {
    Doubles total[2 * COUNT] = {};

    // v has been stored at p.
    void add(int k, Singles v, const float* p, Index at, const Layer& layer, RunStats& stats) {
        if (SUM == Sum::none) return;
        const Doubles low = load(p), high = load(p + W);
        stats.max_abs[k] = larger(stats.max_abs[k], magnitude(v));
        stats.squares[k] += low * low;
        stats.squares[k] += high * high;
        if (SUM == Sum::floats) {
            store(static_cast<float*>(layer.total) + at + k * F, v);
        } else {
            total[2 * k] += low;
            total[2 * k + 1] += high;
        }
    }

    void keep(Index at, const Layer& layer, RunStats& stats) const {
        if (SUM != Sum::doubles) return;
#pragma GCC unroll 8
        for (int k = 0; k < 2 * COUNT; ++k) {
            store(static_cast<double*>(layer.total) + at + k * W, total[k]);
            stats.total_max[k / 2] = larger(stats.total_max[k / 2], magnitude(total[k]));
            stats.total_squares[k / 2] += total[k] * total[k];
        }
    }
};

// The same for a single element.
template <Sum SUM>
inline void keep_one(double total, Index at, const Layer& layer, BatchStats& stats) {
    if (SUM == Sum::none) return;
    if (SUM == Sum::floats) {
        static_cast<float*>(layer.total)[at] = float(total);
        return;
    }
    static_cast<double*>(layer.total)[at] = total;
    stats.total_max_abs = larger(stats.total_max_abs, magnitude(total));
    stats.total_squares += total * total;
}

// Where the only image is its own sum, so are its statistics.
template <Sum SUM>
inline void settle(BatchStats& stats) {
    if (SUM != Sum::floats) return;
    stats.total_max_abs = stats.max_abs;
    stats.total_squares = stats.sum_squares;
}

}  // namespace
}  // namespace holdfast
