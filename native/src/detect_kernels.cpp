// Compiled once per instruction set (HOLDFAST_VARIANT, HOLDFAST_WIDTH doubles to a register).
#include "detect_kernels.hpp"

#include "vectors.hpp"

namespace holdfast {
namespace {

// ---- a single image -----------------------------------------------------------------------------------------

// Two vectors at a time, so that no addition waits for the one before.
struct ImageStats {
    Doubles max_abs[2] = {}, squares[2] = {};

    void take(int k, Doubles v) {
        max_abs[k] = larger(max_abs[k], magnitude(v));
        squares[k] += v * v;
    }
    void fold(BatchStats* stats) const {
        for (int k = 0; k < 2; ++k) {
            for (Index lane = 0; lane < W; ++lane) stats->max_abs = larger(stats->max_abs, max_abs[k][lane]);
            stats->sum_squares += sum(squares[k]);
        }
    }
};

inline Floats read(const float* from, float* to) {
    const Floats v = *reinterpret_cast<const LooseFloats*>(from);
    *reinterpret_cast<LooseFloats*>(to) = v;
    return v;
}

inline void read_one(float v, float* to, BatchStats* stats) {
    *to = v;
    stats->max_abs = larger(stats->max_abs, magnitude(double(v)));
    stats->sum_squares += double(v) * double(v);
}

inline void own_sum(BatchStats* stats) {
    stats->total_max_abs = stats->max_abs;
    stats->total_squares = stats->sum_squares;
}

void read_image(const float* x, Index begin, Index end, float* copy, BatchStats* stats) {
    *stats = {};
    ImageStats vectors;
    Index i = begin;
    for (; i + 2 * W <= end; i += 2 * W) {
        vectors.take(0, widen(read(x + i, copy + i)));
        vectors.take(1, widen(read(x + i + W, copy + i + W)));
    }
    for (; i < end; ++i) read_one(x[i], copy + i, stats);
    vectors.fold(stats);
    own_sum(stats);
}

// ---- checksum convolution, channels first -------------------------------------------------------------------

// TAPS accumulators of two vectors each, as many as leave registers for the rest.
constexpr int MANY_TAPS = W == 8 ? 9 : 4;

// READ: the first group of taps sees every element, and keeps statistics and a copy.
template <int TAPS, bool READ, class T>
inline void tap_block(const T* map, const double* weights, Index channels, Index taps, Index size, Index begin,
                      Index end, double* planes, T* copy, BatchStats* stats) {
    ImageStats vectors;
    Index i = begin;
    for (; i + 2 * W <= end; i += 2 * W) {
        Doubles low[TAPS] = {}, high[TAPS] = {};
        for (Index c = 0; c < channels; ++c) {
            const T* from = map + c * size + i;
            Doubles a, b;
            if constexpr (READ) {
                a = widen(read(from, copy + c * size + i));
                b = widen(read(from + W, copy + c * size + i + W));
                vectors.take(0, a);
                vectors.take(1, b);
            } else {
                a = load(from);
                b = load(from + W);
            }
            const double* w = weights + c * taps;
#pragma GCC unroll 9
            for (int t = 0; t < TAPS; ++t) {
                low[t] += a * w[t];
                high[t] += b * w[t];
            }
        }
        for (int t = 0; t < TAPS; ++t) {
            store(planes + t * size + i, low[t]);
            store(planes + t * size + i + W, high[t]);
        }
    }
    for (; i < end; ++i) {
        double sums[TAPS] = {};
        for (Index c = 0; c < channels; ++c) {
            const T v = map[c * size + i];
            if constexpr (READ) read_one(v, copy + c * size + i, stats);
            for (int t = 0; t < TAPS; ++t) sums[t] += v * weights[c * taps + t];
        }
        for (int t = 0; t < TAPS; ++t) planes[t * size + i] = sums[t];
    }
    if constexpr (READ) vectors.fold(stats);
}

template <bool READ, class T>
inline void all_taps(const T* map, const double* weights, Index channels, Index taps, Index size, Index begin,
                     Index end, double* planes, T* copy, BatchStats* stats) {
    Index t = 0;
#define HOLDFAST_TAPS(COUNT)                                                                                      \
    for (; t + COUNT <= taps; t += COUNT) {                                                                       \
        if (READ && t == 0)                                                                                       \
            tap_block<COUNT, READ>(map, weights, channels, taps, size, begin, end, planes, copy, stats);          \
        else                                                                                                      \
            tap_block<COUNT, false>(map, weights + t, channels, taps, size, begin, end, planes + t * size, copy,  \
                                    stats);                                                                       \
    }
    HOLDFAST_TAPS(MANY_TAPS)
    HOLDFAST_TAPS(3)
    HOLDFAST_TAPS(1)
#undef HOLDFAST_TAPS
}

void tap_image(const float* x, const double* weights, Index channels, Index taps, Index size, Index begin, Index end,
               double* planes, float* copy, BatchStats* stats) {
    *stats = {};
    all_taps<true>(x, weights, channels, taps, size, begin, end, planes, copy, stats);
    own_sum(stats);
}

void tap_planes(const double* total, const double* weights, Index channels, Index taps, Index size, Index begin,
                Index end, double* planes) {
    all_taps<false>(total, weights, channels, taps, size, begin, end, planes, static_cast<double*>(nullptr), nullptr);
}

// ---- checksum convolution, few channels ---------------------------------------------------------------------

// The j with 0 <= j * stride + shift < size, as a half-open range within [0, count).
inline void within(Index shift, Index stride, Index size, Index count, Index* low, Index* high) {
    *low = shift < 0 ? smaller((-shift + stride - 1) / stride, count) : 0;
    *high = shift >= size ? *low : smaller((size - 1 - shift) / stride + 1, count);
    if (*high < *low) *high = *low;
}

// Row y of every channel, split into phases: phase[k][j] is the element at column j * stride_w + k - pad_left.
template <class T>
inline void split_row(const T* map, const Steps& steps, const Geometry& g, Index y, double* to) {
    const Index length = few_phase(g), step = g.stride_w * steps.column;
    for (Index c = 0; c < g.channels; ++c)
        for (Index k = 0; k < g.stride_w; ++k, to += length) {
            Index low, high;
            within(k - g.pad_left, g.stride_w, g.width, length, &low, &high);
            for (Index j = 0; j < low; ++j) to[j] = 0;
            const T* from = map + c * steps.channel + y * steps.row + (k - g.pad_left) * steps.column;
            if (step == 1)
                for (Index j = low; j < high; ++j) to[j] = from[j];
            else
                for (Index j = low; j < high; ++j) to[j] = from[j * step];
            for (Index j = high; j < length; ++j) to[j] = 0;
        }
}

// COUNT vectors of outputs of one row from ox on, of kernel rows first..last; ring row `top` is that of kernel row 0.
template <int COUNT>
inline void few_vectors(const double* ring, const double* weights, const Steps& w, const Geometry& g, Index first,
                        Index last, Index top, Index ox, double* out) {
    const Index length = few_phase(g), row = g.channels * g.stride_w * length;
    Doubles sums[COUNT] = {};
    for (Index r = first; r < last; ++r) {
        const double* lines = ring + (top + r) % g.kernel_h * row + ox;
        for (Index c = 0; c < g.channels; ++c, lines += g.stride_w * length) {
            const double* kernel = weights + c * w.channel + r * w.row;
            for (Index s = 0; s < g.kernel_w; ++s) {
                const double* from = lines + s % g.stride_w * length + s / g.stride_w;
                const double weight = kernel[s * w.column];
#pragma GCC unroll 4
                for (int k = 0; k < COUNT; ++k) sums[k] += weight * load(from + k * W);
            }
        }
    }
    const Index rest = g.out_w - ox;
    for (int k = 0; k < COUNT; ++k) {
        if ((k + 1) * W <= rest)
            store(out + ox + k * W, sums[k]);
        else
            for (Index lane = 0; lane < rest - k * W; ++lane) out[ox + k * W + lane] = sums[k][lane];
    }
}

template <class T>
void few(const T* map, Steps steps, const double* weights, Steps w, const Geometry& g, Index begin, Index end,
         double* scratch, double* out) {
    const Index row = g.channels * g.stride_w * few_phase(g);
    Index split = 0;  // rows before this one are in the ring, or no longer needed
    for (Index oy = begin; oy < end; ++oy) {
        const Index top = oy * g.stride_h - g.pad_top;
        Index first, last;
        within(top, 1, g.height, g.kernel_h, &first, &last);
        if (split < top + first) split = top + first;
        for (; split < top + last; ++split) split_row(map, steps, g, split, scratch + split % g.kernel_h * row);
        // top may be negative; the ring does not mind where counting starts.
        const Index start = top + g.kernel_h * ((g.pad_top + g.kernel_h - 1) / g.kernel_h);
        Index ox = 0;
        for (; ox + 2 * W < g.out_w; ox += 4 * W)
            few_vectors<4>(scratch, weights, w, g, first, last, start, ox, out + oy * g.out_w);
        if (ox < g.out_w) few_vectors<2>(scratch, weights, w, g, first, last, start, ox, out + oy * g.out_w);
    }
}

// ---- comparison ---------------------------------------------------------------------------------------------

double fine(const double* sums, const double* expected, double offset, double threshold, Index begin, Index end) {
    Doubles vectors = {};
    double largest = 0;
    Index i = begin;
    for (; i + W <= end; i += W) {
        const Doubles deviation = magnitude(load(sums + i) - (load(expected + i) + offset));
        const Bits passed = deviation <= threshold;  // false for a NaN, of which both kinds of Inf make one or Inf
        Index count = 0;
        for (Index lane = 0; lane < W; ++lane) count -= passed[lane];
        if (count != W) return -1;
        vectors = larger(vectors, deviation);
    }
    for (; i < end; ++i) {
        const double deviation = magnitude(sums[i] - (expected[i] + offset));
        if (!(deviation <= threshold)) return -1;
        largest = larger(largest, deviation);
    }
    for (Index lane = 0; lane < W; ++lane) largest = larger(largest, vectors[lane]);
    return largest <= 1.7976931348623157e308 ? largest : -1;
}

}  // namespace

#define HOLDFAST_JOIN_(a, b) a##b
#define HOLDFAST_JOIN(a, b) HOLDFAST_JOIN_(a, b)
extern const DetectKernels HOLDFAST_JOIN(detect_, HOLDFAST_VARIANT);
const DetectKernels HOLDFAST_JOIN(detect_, HOLDFAST_VARIANT) = {
    read_image, tap_image, tap_planes, few<float>, few<double>, fine,
};

}  // namespace holdfast
