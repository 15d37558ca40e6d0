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
