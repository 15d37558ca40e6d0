// Compiled once per instruction set (HOLDFAST_VARIANT, HOLDFAST_WIDTH doubles to a register). Vectors are spelled
// with the compiler's vector extension; standard library templates stay out, because the linker might keep a
// copy with the wrong instruction set.
#include "kernels.hpp"

namespace holdfast {
namespace {

constexpr Index W = HOLDFAST_WIDTH;
typedef double Doubles __attribute__((vector_size(8 * W)));
typedef float Floats __attribute__((vector_size(4 * W)));
typedef long long Bits __attribute__((vector_size(8 * W)));
typedef Doubles LooseDoubles __attribute__((aligned(8), may_alias));
typedef Floats LooseFloats __attribute__((aligned(4), may_alias));

inline Doubles load(const double* p) { return *reinterpret_cast<const LooseDoubles*>(p); }
inline Doubles load(const float* p) {
    return __builtin_convertvector(Floats(*reinterpret_cast<const LooseFloats*>(p)), Doubles);
}
inline void store(double* p, Doubles v) { *reinterpret_cast<LooseDoubles*>(p) = v; }
inline double sum(Doubles v) {
    double lanes[W];
    store(lanes, v);
    for (Index half = W / 2; half; half /= 2)
        for (Index lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    return lanes[0];
}
inline Index smaller(Index a, Index b) { return a < b ? a : b; }
inline double magnitude(double v) { return __builtin_fabs(v); }
inline Doubles magnitude(Doubles v) { return (Doubles)((Bits)v & 0x7fffffffffffffffLL); }
// A NaN never wins: statistics find it in the sum of squares instead.
inline double larger(double a, double b) { return b > a ? b : a; }
inline Doubles larger(Doubles a, Doubles b) { return b > a ? b : a; }

// ---- sum over the batch ------------------------------------------------------------------------------------

constexpr Index BLOCK = 2048;  // doubles that stay in the first-level cache while the batch streams past

void batch_sum(const float* x, Index n, Index length, Index begin, Index end, bool weighted, double* total,
               BatchStats* stats) {
    Doubles max_abs = {}, squares = {}, total_max = {}, total_squares = {};
    double tail_max = 0, tail_squares = 0, tail_total_max = 0, tail_total_squares = 0;
    for (Index low = begin; low < end; low += BLOCK) {
        const Index high = smaller(low + BLOCK, end), whole = low + (high - low) / W * W;
        for (Index image = 0; image < n; ++image) {
            const float* row = x + image * length;
            const double factor = weighted ? double(image + 1) : 1.0;
            for (Index i = low; i < whole; i += W) {
                const Doubles v = load(row + i);
                max_abs = larger(max_abs, magnitude(v));
                squares += v * v;
                store(total + i, image ? load(total + i) + factor * v : factor * v);
            }
            for (Index i = whole; i < high; ++i) {
                const double v = row[i];
                tail_max = larger(tail_max, magnitude(v));
                tail_squares += v * v;
                total[i] = image ? total[i] + factor * v : factor * v;
            }
        }
        for (Index i = low; i < whole; i += W) {
            const Doubles v = load(total + i);
            total_max = larger(total_max, magnitude(v));
            total_squares += v * v;
        }
        for (Index i = whole; i < high; ++i) {
            tail_total_max = larger(tail_total_max, magnitude(total[i]));
            tail_total_squares += total[i] * total[i];
        }
    }
    for (Index lane = 0; lane < W; ++lane) {
        tail_max = larger(tail_max, max_abs[lane]);
        tail_total_max = larger(tail_total_max, total_max[lane]);
    }
    stats->max_abs = tail_max;
    stats->sum_squares = tail_squares + sum(squares);
    stats->total_max_abs = tail_total_max;
    stats->total_squares = tail_total_squares + sum(total_squares);
}

// ---- checksum convolution ----------------------------------------------------------------------------------

// TAPS accumulators of two vectors each, as many as leave half of the registers free.
constexpr int MANY_TAPS = W == 8 ? 8 : 4;

template <int TAPS>
inline void tap_block(const double* total, const double* weights, Index channels, Index taps, Index size,
                      Index begin, Index end, double* planes) {
    Index i = begin;
    for (; i + 2 * W <= end; i += 2 * W) {
        Doubles low[TAPS] = {}, high[TAPS] = {};
        for (Index c = 0; c < channels; ++c) {
            const Doubles a = load(total + c * size + i), b = load(total + c * size + i + W);
            const double* w = weights + c * taps;
#pragma GCC unroll 8
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
        for (Index c = 0; c < channels; ++c)
            for (int t = 0; t < TAPS; ++t) sums[t] += total[c * size + i] * weights[c * taps + t];
        for (int t = 0; t < TAPS; ++t) planes[t * size + i] = sums[t];
    }
}

void tap_planes(const double* total, const double* weights, Index channels, Index taps, Index size, Index begin,
                Index end, double* planes) {
    Index t = 0;
    for (; t + MANY_TAPS <= taps; t += MANY_TAPS)
        tap_block<MANY_TAPS>(total, weights + t, channels, taps, size, begin, end, planes + t * size);
    for (; t + 3 <= taps; t += 3)
        tap_block<3>(total, weights + t, channels, taps, size, begin, end, planes + t * size);
    for (; t < taps; ++t)
        tap_block<1>(total, weights + t, channels, taps, size, begin, end, planes + t * size);
}

// The outputs o with 0 <= o * stride + shift < size, as a half-open range within [0, count).
inline void valid(Index shift, Index stride, Index size, Index count, Index* low, Index* high) {
    *low = shift < 0 ? smaller((-shift + stride - 1) / stride, count) : 0;
    *high = shift >= size ? *low : smaller((size - 1 - shift) / stride + 1, count);
    if (*high < *low) *high = *low;
}

void gather_taps(const double* planes, const Geometry& g, Index begin, Index end, double* out) {
    for (Index oy = begin; oy < end; ++oy) {
        double* row = out + oy * g.out_w;
        for (Index ox = 0; ox < g.out_w; ++ox) row[ox] = 0;
        for (Index r = 0; r < g.kernel_h; ++r) {
            const Index y = oy * g.stride_h + r * g.dilation_h - g.pad_top;
            if (y < 0 || y >= g.height) continue;
            for (Index s = 0; s < g.kernel_w; ++s) {
                const Index shift = s * g.dilation_w - g.pad_left;
                const double* plane = planes + ((r * g.kernel_w + s) * g.height + y) * g.width + shift;
                Index low, high;
                valid(shift, g.stride_w, g.width, g.out_w, &low, &high);
                if (g.stride_w == 1)
                    for (Index ox = low; ox < high; ++ox) row[ox] += plane[ox];
                else
                    for (Index ox = low; ox < high; ++ox) row[ox] += plane[ox * g.stride_w];
            }
        }
    }
}

inline void dot(const double* a, const double* b, Index count, Doubles* sums, double* tail) {
    Index i = 0;
    for (; i + 2 * W <= count; i += 2 * W) {
        sums[0] += load(a + i) * load(b + i);
        sums[1] += load(a + i + W) * load(b + i + W);
    }
    if (i + W <= count) {
        sums[0] += load(a + i) * load(b + i);
        i += W;
    }
    for (; i < count; ++i) *tail += a[i] * b[i];
}

void convolve_last(const double* total, const double* weights, const Geometry& g, Index begin, Index end,
                   double* out) {
    for (Index oy = begin; oy < end; ++oy)
        for (Index ox = 0; ox < g.out_w; ++ox) {
            const Index left = ox * g.stride_w - g.pad_left;
            Index low, high;
            valid(left, g.dilation_w, g.width, g.kernel_w, &low, &high);
            Doubles sums[2] = {};
            double tail = 0;
            for (Index r = 0; r < g.kernel_h; ++r) {
                const Index y = oy * g.stride_h + r * g.dilation_h - g.pad_top;
                if (y < 0 || y >= g.height) continue;
                const double* row = total + (y * g.width + left) * g.channels;
                const double* kernel = weights + r * g.kernel_w * g.channels;
                if (g.dilation_w == 1) {
                    dot(row + low * g.channels, kernel + low * g.channels, (high - low) * g.channels, sums, &tail);
                } else {
                    for (Index s = low; s < high; ++s)
                        dot(row + s * g.dilation_w * g.channels, kernel + s * g.channels, g.channels, sums, &tail);
                }
            }
            out[oy * g.out_w + ox] = sum(sums[0] + sums[1]) + tail;
        }
}

// ---- sums of the output and comparison ---------------------------------------------------------------------

void sum_rows(const float* out, Index rows, Index length, Index begin, Index end, double* sums) {
    for (Index low = begin; low < end; low += BLOCK) {
        const Index high = smaller(low + BLOCK, end), whole = low + (high - low) / W * W;
        for (Index i = low; i < high; ++i) sums[i] = 0;
        Index row = 0;
        for (; row + 4 <= rows; row += 4) {
            const float *a = out + row * length, *b = a + length, *c = b + length, *d = c + length;
            for (Index i = low; i < whole; i += W)
                store(sums + i, load(sums + i) + ((load(a + i) + load(b + i)) + (load(c + i) + load(d + i))));
            for (Index i = whole; i < high; ++i)
                sums[i] += (double(a[i]) + double(b[i])) + (double(c[i]) + double(d[i]));
        }
        for (; row < rows; ++row) {
            const float* a = out + row * length;
            for (Index i = low; i < whole; i += W) store(sums + i, load(sums + i) + load(a + i));
            for (Index i = whole; i < high; ++i) sums[i] += a[i];
        }
    }
}

template <class T>
inline double sum_run(const T* p, Index count) {
    Doubles a = {}, b = {};
    Index i = 0;
    for (; i + 2 * W <= count; i += 2 * W) {
        a += load(p + i);
        b += load(p + i + W);
    }
    if (i + W <= count) {
        a += load(p + i);
        i += W;
    }
    double tail = 0;
    for (; i < count; ++i) tail += p[i];
    return sum(a + b) + tail;
}

void sum_last(const float* out, Index n, Index positions, Index m_count, Index begin, Index end, double* sums) {
    if (n == 1 || m_count > BLOCK) {
        for (Index image = 0; image < n; ++image)
            for (Index i = begin; i < end; ++i) {
                const double value = sum_run(out + (image * positions + i) * m_count, m_count);
                sums[i] = image ? sums[i] + value : value;
            }
        return;
    }
    // Over the batch first, where elements line up; over the channels once for each position.
    double over_batch[BLOCK];
    for (Index low = begin; low < end; low += BLOCK / m_count) {
        const Index high = smaller(low + BLOCK / m_count, end);
        sum_rows(out + low * m_count, n, positions * m_count, 0, (high - low) * m_count, over_batch);
        for (Index i = low; i < high; ++i) sums[i] = sum_run(over_batch + (i - low) * m_count, m_count);
    }
}

void compare(const double* sums, const double* expected, double offset, double threshold, Index begin, Index end,
             Verdict* verdict) {
    for (Index i = begin; i < end; ++i) {
        const double deviation = magnitude(sums[i] - (expected[i] + offset));
        // Written so that a NaN counts as a violation: every comparison with it is false.
        if (!(deviation <= threshold)) {
            if (verdict->first < 0) verdict->first = i;
            ++verdict->violations;
        }
        if (magnitude(sums[i]) <= 1.7976931348623157e308) {
            verdict->deviation = larger(verdict->deviation, deviation);
        } else {
            ++verdict->nonfinite;
        }
    }
    if (verdict->nonfinite) verdict->deviation = __builtin_inf();
}

// ---- a layer's output: check, then residual, activation and sum over the batch ------------------------------

inline Floats load_floats(const float* p) { return *reinterpret_cast<const LooseFloats*>(p); }
inline void store(float* p, Floats v) { *reinterpret_cast<LooseFloats*>(p) = v; }
inline Doubles widen(Floats v) { return __builtin_convertvector(v, Doubles); }
inline double widen(float v) { return v; }

// Comparisons are turned so that a NaN stays one.
template <Activation KIND, class V>
inline V activate(V v, V parameter) {
    const V zero = {};
    if (KIND == Activation::relu) return zero > v ? zero : v;
    if (KIND == Activation::leaky) return zero > v ? parameter * v : v;
    if (KIND == Activation::clamp) {
        v = zero > v ? zero : v;
        return parameter < v ? parameter : v;
    }
    return v;
}

constexpr int UNROLL = 4;

// Elements [begin, end) of every image. residual_sums: BLOCK doubles.
template <Activation KIND, bool RESIDUAL, bool TOTAL>
void finish_run(const Layer& layer, Index begin, Index end, double* residual_sums, LayerPart* part) {
    const Index length = layer.positions * layer.m;
    const Floats parameter = Floats{} + layer.parameter;
    const bool verify = RESIDUAL && layer.residual_total;
    Doubles max_abs[UNROLL] = {}, squares[UNROLL] = {}, total_max[UNROLL] = {}, total_squares[UNROLL] = {};
    double tail_max = 0, tail_squares = 0, tail_total_max = 0, tail_total_squares = 0;
    for (Index low = begin; low < end; low += BLOCK) {
        const Index count = smaller(BLOCK, end - low), whole = count / W * W, many = count / (UNROLL * W) * UNROLL * W;
        double* total = layer.total + low;
        for (Index image = 0; image < layer.n; ++image) {
            float* out = layer.out + image * length + low;
            const float* residual = layer.residual + image * length + low;
            const bool first = image == 0;
            const auto step = [&](Index i, int lane) __attribute__((always_inline)) {
                Floats v = load_floats(out + i);
                if (RESIDUAL) {
                    const Floats r = load_floats(residual + i);
                    v += r;
                    if (verify) store(residual_sums + i, first ? widen(r) : load(residual_sums + i) + widen(r));
                }
                v = activate<KIND>(v, parameter);
                if (RESIDUAL || KIND != Activation::none) store(out + i, v);
                if (TOTAL) {
                    const Doubles wide = widen(v);
                    store(total + i, first ? wide : load(total + i) + wide);
                    max_abs[lane] = larger(max_abs[lane], magnitude(wide));
                    squares[lane] += wide * wide;
                }
            };
            for (Index i = 0; i < many; i += UNROLL * W) {
#pragma GCC unroll 4
                for (int lane = 0; lane < UNROLL; ++lane) step(i + lane * W, lane);
            }
            for (Index i = many; i < whole; i += W) step(i, 0);
            for (Index i = whole; i < count; ++i) {
                float v = out[i];
                if (RESIDUAL) {
                    v += residual[i];
                    if (verify) residual_sums[i] = first ? residual[i] : residual_sums[i] + residual[i];
                }
                out[i] = v = activate<KIND>(v, layer.parameter);
                if (TOTAL) {
                    const double wide = v;
                    total[i] = first ? wide : total[i] + wide;
                    tail_max = larger(tail_max, magnitude(wide));
                    tail_squares += wide * wide;
                }
            }
        }
        if (TOTAL) {
            for (Index i = 0; i < whole; i += W) {
                const int lane = i / W % UNROLL;
                const Doubles v = load(total + i);
                total_max[lane] = larger(total_max[lane], magnitude(v));
                total_squares[lane] += v * v;
            }
            for (Index i = whole; i < count; ++i) {
                tail_total_max = larger(tail_total_max, magnitude(total[i]));
                tail_total_squares += total[i] * total[i];
            }
        }
        if (verify) {
            Index different = 0;
            for (Index i = 0; i < count; ++i) different += residual_sums[i] != layer.residual_total[low + i];
            if (different) part->residual_intact = false;
        }
    }
    if (!TOTAL) return;
    for (int lane = 0; lane < UNROLL; ++lane) {
        for (Index i = 0; i < W; ++i) {
            tail_max = larger(tail_max, max_abs[lane][i]);
            tail_total_max = larger(tail_total_max, total_max[lane][i]);
        }
        tail_squares += sum(squares[lane]);
        tail_total_squares += sum(total_squares[lane]);
    }
    BatchStats& stats = part->stats;
    stats.max_abs = larger(stats.max_abs, tail_max);
    stats.sum_squares += tail_squares;
    stats.total_max_abs = larger(stats.total_max_abs, tail_total_max);
    stats.total_squares += tail_total_squares;
}

using Run = void (*)(const Layer&, Index, Index, double*, LayerPart*);

template <Activation KIND>
Run run_of(const Layer& layer) {
    if (layer.residual) return layer.total ? finish_run<KIND, true, true> : finish_run<KIND, true, false>;
    return layer.total ? finish_run<KIND, false, true> : finish_run<KIND, false, false>;
}

Run run_of(const Layer& layer) {
    switch (layer.activation) {
        case Activation::relu: return run_of<Activation::relu>(layer);
        case Activation::clamp: return run_of<Activation::clamp>(layer);
        case Activation::leaky: return run_of<Activation::leaky>(layer);
        default: return run_of<Activation::none>(layer);
    }
}

void finish_layer(const Layer& layer, Index begin, Index end, double* scratch, LayerPart* part) {
    const Index m = layer.m, chunk = layer_chunk(layer), length = layer.positions * m;
    const bool writes = layer.residual || layer.total || layer.activation != Activation::none;
    const Run run = run_of(layer);
    double *residual_sums = scratch, *sums = scratch + BLOCK, *over_batch = sums + chunk;
    Index* violated = layer.violated + begin;
    for (Index low = begin; low < end; low += chunk) {
        const Index high = smaller(low + chunk, end), found = part->verdict.violations;
        if (layer.expected) {
            if (layer.n > 1) sum_rows(layer.out + low * m, layer.n, length, 0, (high - low) * m, over_batch);
            for (Index i = 0; i < high - low; ++i)
                sums[i] = layer.n > 1 ? sum_run(over_batch + i * m, m) : sum_run(layer.out + (low + i) * m, m);
            compare(sums - low, layer.expected, layer.offset, layer.threshold, low, high, &part->verdict);
        }
        if (part->verdict.violations == found) {
            if (writes) run(layer, low * m, high * m, residual_sums, part);
            continue;
        }
        for (Index i = low; i < high; ++i) {
            if (!(magnitude(sums[i - low] - (layer.expected[i] + layer.offset)) <= layer.threshold))
                *violated++ = i;
            else if (writes)
                run(layer, i * m, (i + 1) * m, residual_sums, part);
        }
    }
}

}  // namespace

#define HOLDFAST_JOIN_(a, b) a##b
#define HOLDFAST_JOIN(a, b) HOLDFAST_JOIN_(a, b)
extern const Kernels HOLDFAST_JOIN(kernels_, HOLDFAST_VARIANT);
const Kernels HOLDFAST_JOIN(kernels_, HOLDFAST_VARIANT) = {
    batch_sum, tap_planes, gather_taps, convolve_last, sum_rows, sum_last, compare, finish_layer,
};

}  // namespace holdfast
