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

// ---- checksum convolution, channels last --------------------------------------------------------------------

// to[k] = the sum of v[k], COUNT of them.
template <int COUNT>
inline void sums_of(const Doubles* v, double* to) {
    int k = 0;
#if HOLDFAST_WIDTH == 8
    // Eight at a time: halves, quarters and eighths of two vectors are added as one.
    for (; k + 8 <= COUNT; k += 8) {
        Doubles a[4], b[2];
        for (int i = 0; i < 4; ++i) {
            const Doubles x = v[k + 2 * i], y = v[k + 2 * i + 1];
            a[i] = __builtin_shuffle(x, y, Bits{0, 8, 2, 10, 4, 12, 6, 14}) +
                   __builtin_shuffle(x, y, Bits{1, 9, 3, 11, 5, 13, 7, 15});
        }
        for (int i = 0; i < 2; ++i)
            b[i] = __builtin_shuffle(a[2 * i], a[2 * i + 1], Bits{0, 1, 8, 9, 4, 5, 12, 13}) +
                   __builtin_shuffle(a[2 * i], a[2 * i + 1], Bits{2, 3, 10, 11, 6, 7, 14, 15});
        store(to + k, __builtin_shuffle(b[0], b[1], Bits{0, 1, 2, 3, 8, 9, 10, 11}) +
                          __builtin_shuffle(b[0], b[1], Bits{4, 5, 6, 7, 12, 13, 14, 15}));
    }
#endif
    for (; k < COUNT; ++k) to[k] = sum(v[k]);
}

// AT positions from `map` on, for TAPS kernel entries; the same element of the next plane is `size` further.
template <int AT, int TAPS, bool READ, class T>
inline void last_block(const T* map, const double* weights, Index channels, Index size, double* planes, T* copy,
                       ImageStats* vectors, BatchStats* stats) {
    Doubles sums[AT * TAPS] = {};
    double tails[AT * TAPS] = {};
    Index c = 0;
    for (; c + W <= channels; c += W) {
        Doubles a[AT];
#pragma GCC unroll 8
        for (int p = 0; p < AT; ++p) {
            const T* from = map + p * channels + c;
            if constexpr (READ) {
                a[p] = widen(read(from, copy + p * channels + c));
                vectors->take(p % 2, a[p]);
            } else {
                a[p] = load(from);
            }
        }
#pragma GCC unroll 9
        for (int t = 0; t < TAPS; ++t) {
            const Doubles w = load(weights + t * channels + c);
#pragma GCC unroll 8
            for (int p = 0; p < AT; ++p) sums[t * AT + p] += w * a[p];
        }
    }
    for (; c < channels; ++c)
        for (int p = 0; p < AT; ++p) {
            const T v = map[p * channels + c];
            if constexpr (READ) read_one(v, copy + p * channels + c, stats);
            for (int t = 0; t < TAPS; ++t) tails[t * AT + p] += v * weights[t * channels + c];
        }
    double all[AT * TAPS];
    sums_of<AT * TAPS>(sums, all);
    for (int t = 0; t < TAPS; ++t)
        for (int p = 0; p < AT; ++p) planes[t * size + p] = all[t * AT + p] + tails[t * AT + p];
}

template <int AT, int TAPS, bool READ, class T>
inline void last_run(const T* map, const double* weights, Index channels, Index size, Index begin, Index end,
                     double* planes, T* copy, BatchStats* stats) {
    ImageStats vectors;
    Index i = begin;
    for (; i + AT <= end; i += AT)
        last_block<AT, TAPS, READ>(map + i * channels, weights, channels, size, planes + i,
                                   READ ? copy + i * channels : copy, &vectors, stats);
    for (; i < end; ++i)
        last_block<1, TAPS, READ>(map + i * channels, weights, channels, size, planes + i,
                                  READ ? copy + i * channels : copy, &vectors, stats);
    if constexpr (READ) vectors.fold(stats);
}

template <bool READ, class T>
inline void all_last(const T* map, const double* weights, Index channels, Index taps, Index size, Index begin,
                     Index end, double* planes, T* copy, BatchStats* stats) {
    Index t = 0;
#define HOLDFAST_TAPS(AT, COUNT)                                                                                  \
    for (; t + COUNT <= taps; t += COUNT) {                                                                       \
        const double* w = weights + t * channels;                                                                 \
        if (READ && t == 0)                                                                                       \
            last_run<AT, COUNT, READ>(map, w, channels, size, begin, end, planes, copy, stats);                   \
        else                                                                                                      \
            last_run<AT, COUNT, false>(map, w, channels, size, begin, end, planes + t * size, copy, stats);       \
    }
    HOLDFAST_TAPS(2, MANY_TAPS)
    HOLDFAST_TAPS(2, 3)
    HOLDFAST_TAPS(8, 1)
#undef HOLDFAST_TAPS
}

void last_image(const float* x, const double* weights, Index channels, Index taps, Index size, Index begin,
                Index end, double* planes, float* copy, BatchStats* stats) {
    *stats = {};
    all_last<true>(x, weights, channels, taps, size, begin, end, planes, copy, stats);
    own_sum(stats);
}

void last_planes(const double* total, const double* weights, Index channels, Index taps, Index size, Index begin,
                 Index end, double* planes) {
    all_last<false>(total, weights, channels, taps, size, begin, end, planes, static_cast<double*>(nullptr),
                    nullptr);
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
    read_image, tap_image, tap_planes, last_image, last_planes, few<float>, few<double>, fine,
};

}  // namespace holdfast
