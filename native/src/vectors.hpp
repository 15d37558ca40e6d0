// Vectors of W doubles, W being the width of the instruction set that a file is compiled for (HOLDFAST_WIDTH).
// Spelled with the compiler's vector extension; standard library templates stay out of these files, because the
// linker might keep a copy with the wrong instruction set. For the same reason everything is internal.
#pragma once

#include "kernels.hpp"

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace holdfast {
namespace {

constexpr Index W = HOLDFAST_WIDTH;
typedef double Doubles __attribute__((vector_size(8 * W)));
typedef float Floats __attribute__((vector_size(4 * W)));
typedef long long Bits __attribute__((vector_size(8 * W)));
typedef int Words __attribute__((vector_size(4 * W)));
typedef Doubles LooseDoubles __attribute__((aligned(8), may_alias));
typedef Floats LooseFloats __attribute__((aligned(4), may_alias));

// Spelled out where it matters: gcc 12 takes a __builtin_convertvector to 512 bits to pieces.
inline Doubles widen(Floats v) {
#if HOLDFAST_WIDTH == 8 && defined(__AVX512F__)
    return Doubles(_mm512_cvtps_pd(__m256(v)));
#elif HOLDFAST_WIDTH == 4 && defined(__AVX__)
    return Doubles(_mm256_cvtps_pd(__m128(v)));
#else
    return __builtin_convertvector(v, Doubles);
#endif
}
inline double widen(float v) { return v; }
inline Doubles load(const double* p) { return *reinterpret_cast<const LooseDoubles*>(p); }
inline Doubles load(const float* p) {
    return widen(*reinterpret_cast<const LooseFloats*>(p));
}
inline void store(double* p, Doubles v) { *reinterpret_cast<LooseDoubles*>(p) = v; }
inline double sum(Doubles v) {
#if HOLDFAST_WIDTH == 8
    v += __builtin_shuffle(v, Bits{4, 5, 6, 7, 0, 1, 2, 3});
    v += __builtin_shuffle(v, Bits{2, 3, 0, 1, 6, 7, 4, 5});
    v += __builtin_shuffle(v, Bits{1, 0, 3, 2, 5, 4, 7, 6});
#elif HOLDFAST_WIDTH == 4
    v += __builtin_shuffle(v, Bits{2, 3, 0, 1});
    v += __builtin_shuffle(v, Bits{1, 0, 3, 2});
#else
    v += __builtin_shuffle(v, Bits{1, 0});
#endif
    return v[0];
}
// The sums of W vectors.
inline Doubles sum_each(const Doubles* v) {
#if HOLDFAST_WIDTH == 8
    Doubles pairs[4], fours[2];
    for (int i = 0; i < 4; ++i)
        pairs[i] = __builtin_shuffle(v[2 * i], v[2 * i + 1], Bits{0, 8, 2, 10, 4, 12, 6, 14}) +
                   __builtin_shuffle(v[2 * i], v[2 * i + 1], Bits{1, 9, 3, 11, 5, 13, 7, 15});
    for (int i = 0; i < 2; ++i)
        fours[i] = __builtin_shuffle(pairs[2 * i], pairs[2 * i + 1], Bits{0, 1, 8, 9, 4, 5, 12, 13}) +
                   __builtin_shuffle(pairs[2 * i], pairs[2 * i + 1], Bits{2, 3, 10, 11, 6, 7, 14, 15});
    return __builtin_shuffle(fours[0], fours[1], Bits{0, 1, 2, 3, 8, 9, 10, 11}) +
           __builtin_shuffle(fours[0], fours[1], Bits{4, 5, 6, 7, 12, 13, 14, 15});
#elif HOLDFAST_WIDTH == 4
    Doubles pairs[2];
    for (int i = 0; i < 2; ++i)
        pairs[i] = __builtin_shuffle(v[2 * i], v[2 * i + 1], Bits{0, 4, 2, 6}) +
                   __builtin_shuffle(v[2 * i], v[2 * i + 1], Bits{1, 5, 3, 7});
    return __builtin_shuffle(pairs[0], pairs[1], Bits{0, 1, 4, 5}) +
           __builtin_shuffle(pairs[0], pairs[1], Bits{2, 3, 6, 7});
#else
    return __builtin_shuffle(v[0], v[1], Bits{0, 2}) + __builtin_shuffle(v[0], v[1], Bits{1, 3});
#endif
}
// All bits of the lanes that are `count` or fewer before the end.
inline Bits last_lanes(Index count) {
#if HOLDFAST_WIDTH == 8
    return Bits{7, 6, 5, 4, 3, 2, 1, 0} < (long long)count;
#elif HOLDFAST_WIDTH == 4
    return Bits{3, 2, 1, 0} < (long long)count;
#else
    return Bits{1, 0} < (long long)count;
#endif
}
inline Index smaller(Index a, Index b) { return a < b ? a : b; }
inline double magnitude(double v) { return __builtin_fabs(v); }
inline Floats magnitude(Floats v) { return (Floats)((Words)v & 0x7fffffff); }
inline Doubles magnitude(Doubles v) { return (Doubles)((Bits)v & 0x7fffffffffffffffLL); }
// A NaN never wins: statistics find it in the sum of squares instead.
inline double larger(double a, double b) { return b > a ? b : a; }
inline Doubles larger(Doubles a, Doubles b) { return b > a ? b : a; }
inline Floats larger(Floats a, Floats b) { return b > a ? b : a; }

}  // namespace
}  // namespace holdfast
