// Compiled once per instruction set (HOLDFAST_VARIANT, HOLDFAST_WIDTH doubles to a register).
#include "vectors.hpp"

namespace holdfast {
namespace {

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

template <class T>
inline void dot(const T* a, const double* b, Index count, Doubles* sums, double* tail) {
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

// The kernel rows first..last that meet the map at output row oy.
inline void valid_rows(const Geometry& g, Index oy, Index* first, Index* last) {
    valid(oy * g.stride_h - g.pad_top, g.dilation_h, g.height, g.kernel_h, first, last);
}

constexpr int TOGETHER = 8;

// TOGETHER outputs from (oy, ox) whose kernels meet the whole width of their windows: each weight is loaded once.
template <class T>
inline void convolve_many(const T* total, const double* weights, const Geometry& g, Index oy, Index ox,
                          double* out) {
    const Index row = g.kernel_w * g.channels, step = g.stride_w * g.channels, whole = row / W * W;
    Index first, last;
    valid_rows(g, oy, &first, &last);
    Doubles sums[TOGETHER] = {};
    double tails[TOGETHER] = {};
    for (Index r = first; r < last; ++r) {
        const Index y = oy * g.stride_h + r * g.dilation_h - g.pad_top;
        const T* from = total + (y * g.width + ox * g.stride_w - g.pad_left) * g.channels;
        const double* kernel = weights + r * row;
        for (Index i = 0; i < whole; i += W) {
            const Doubles w = load(kernel + i);
#pragma GCC unroll 8
            for (int k = 0; k < TOGETHER; ++k) sums[k] += w * load(from + k * step + i);
        }
        for (Index i = whole; i < row; ++i)
            for (int k = 0; k < TOGETHER; ++k) tails[k] += kernel[i] * from[k * step + i];
    }
    for (int k = 0; k < TOGETHER; ++k) out[k] = sum(sums[k]) + tails[k];
}

template <class T>
void convolve_last(const T* total, const double* weights, const Geometry& g, Index begin, Index end, double* out) {
    for (Index oy = begin; oy < end; ++oy) {
        Index first, last;
        valid_rows(g, oy, &first, &last);
        for (Index ox = 0; ox < g.out_w; ++ox) {
            const Index left = ox * g.stride_w - g.pad_left;
            if (g.dilation_w == 1 && left >= 0 && ox + TOGETHER <= g.out_w &&
                left + (TOGETHER - 1) * g.stride_w + g.kernel_w <= g.width) {
                convolve_many(total, weights, g, oy, ox, out + oy * g.out_w + ox);
                ox += TOGETHER - 1;
                continue;
            }
            Index low, high;
            valid(left, g.dilation_w, g.width, g.kernel_w, &low, &high);
            Doubles sums[2] = {};
            double tail = 0;
            for (Index r = first; r < last; ++r) {
                const Index y = oy * g.stride_h + r * g.dilation_h - g.pad_top;
                const T* row = total + (y * g.width + left) * g.channels;
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
    Doubles a = {}, b = {}, c = {}, d = {};
    Index i = 0;
    for (; i + 4 * W <= count; i += 4 * W) {
        a += load(p + i);
        b += load(p + i + W);
        c += load(p + i + 2 * W);
        d += load(p + i + 3 * W);
    }
    for (; i + W <= count; i += W) a += load(p + i);
    double tail = 0;
    for (; i < count; ++i) tail += p[i];
    return sum((a + b) + (c + d)) + tail;
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

// Statistics of a run, a vector for each of the elements that are taken together.
struct RunStats {
    Floats max_abs[UNROLL] = {};
    Doubles squares[UNROLL] = {}, total_max[UNROLL] = {}, total_squares[UNROLL] = {};
};

inline void fold(const RunStats& vectors, BatchStats& stats) {
    for (int k = 0; k < UNROLL; ++k) {
        for (Index lane = 0; lane < W; ++lane) {
            stats.max_abs = larger(stats.max_abs, double(vectors.max_abs[k][lane]));
            stats.total_max_abs = larger(stats.total_max_abs, vectors.total_max[k][lane]);
        }
        stats.sum_squares += sum(vectors.squares[k]);
        stats.total_squares += sum(vectors.total_squares[k]);
    }
}

// What vectors of the finished map add to its sum, `at` elements into it.
template <Sum SUM, int COUNT>
struct Adder {
    Doubles total[COUNT] = {};

    void add(int k, Floats v, Index at, const Layer& layer, RunStats& stats) {
        if (SUM == Sum::none) return;
        const Doubles wide = widen(v);
        stats.max_abs[k] = larger(stats.max_abs[k], magnitude(v));
        stats.squares[k] += wide * wide;
        if (SUM == Sum::floats)
            store(static_cast<float*>(layer.total) + at + k * W, v);
        else
            total[k] += wide;
    }

    void keep(Index at, const Layer& layer, RunStats& stats) const {
        if (SUM != Sum::doubles) return;
#pragma GCC unroll 4
        for (int k = 0; k < COUNT; ++k) {
            store(static_cast<double*>(layer.total) + at + k * W, total[k]);
            stats.total_max[k] = larger(stats.total_max[k], magnitude(total[k]));
            stats.total_squares[k] += total[k] * total[k];
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

// COUNT vectors from element `at` of every image. The batch is the inner loop, so that sums stay in registers.
template <Activation KIND, bool RESIDUAL, Sum SUM, int COUNT>
inline void finish_vectors(const Layer& layer, Index at, Index length, bool verify, RunStats& stats,
                           Words& different) {
    const Floats parameter = Floats{} + layer.parameter;
    Adder<SUM, COUNT> adder;
    Doubles residual_total[COUNT] = {};
    float* out = layer.out + at;
    const float* residual = layer.residual + at;
    for (Index image = 0; image < layer.n; ++image, out += length, residual += length) {
#pragma GCC unroll 4
        for (int k = 0; k < COUNT; ++k) {
            Floats v = load_floats(out + k * W);
            if (RESIDUAL) {
                const Floats r = load_floats(residual + k * W);
                v += r;
                if (SUM == Sum::doubles) residual_total[k] += widen(r);
                if (SUM == Sum::floats && verify)
                    different |= r != load_floats(static_cast<const float*>(layer.residual_total) + at + k * W);
            }
            v = activate<KIND>(v, parameter);
            if (RESIDUAL || KIND != Activation::none) store(out + k * W, v);
            adder.add(k, v, at, layer, stats);
        }
    }
    adder.keep(at, layer, stats);
    if (RESIDUAL && SUM == Sum::doubles && verify)
#pragma GCC unroll 4
        for (int k = 0; k < COUNT; ++k)
            different |= __builtin_convertvector(
                residual_total[k] != load(static_cast<const double*>(layer.residual_total) + at + k * W), Words);
}

// Elements [begin, end) of every image.
template <Activation KIND, bool RESIDUAL, Sum SUM>
void finish_run(const Layer& layer, Index begin, Index end, LayerPart* part) {
    const Index length = layer.positions * layer.m;
    const bool verify = RESIDUAL && SUM != Sum::none && layer.residual_total;
    RunStats vectors;
    Words different = {};
    BatchStats& stats = part->stats;
    Index at = begin;
    for (; at + UNROLL * W <= end; at += UNROLL * W)
        finish_vectors<KIND, RESIDUAL, SUM, UNROLL>(layer, at, length, verify, vectors, different);
    for (; at + W <= end; at += W)
        finish_vectors<KIND, RESIDUAL, SUM, 1>(layer, at, length, verify, vectors, different);
    for (; at < end; ++at) {
        double total = 0, residual_total = 0;
        for (Index image = 0; image < layer.n; ++image) {
            float v = layer.out[image * length + at];
            if (RESIDUAL) {
                const float r = layer.residual[image * length + at];
                v += r;
                residual_total += r;
            }
            v = activate<KIND>(v, layer.parameter);
            if (RESIDUAL || KIND != Activation::none) layer.out[image * length + at] = v;
            const double wide = v;
            total += wide;
            stats.max_abs = larger(stats.max_abs, magnitude(wide));
            stats.sum_squares += wide * wide;
        }
        keep_one<SUM>(total, at, layer, stats);
        if (verify && residual_total != (SUM == Sum::floats ? static_cast<const float*>(layer.residual_total)[at]
                                                            : static_cast<const double*>(layer.residual_total)[at]))
            part->residual_intact = false;
    }
    fold(vectors, stats);
    settle<SUM>(stats);
    for (Index lane = 0; lane < W; ++lane)
        if (different[lane]) part->residual_intact = false;
}

using Run = void (*)(const Layer&, Index, Index, LayerPart*);

template <Activation KIND, bool RESIDUAL>
Run run_of(const Layer& layer) {
    if (!layer.total) return finish_run<KIND, RESIDUAL, Sum::none>;
    return single(layer.n) ? finish_run<KIND, RESIDUAL, Sum::floats> : finish_run<KIND, RESIDUAL, Sum::doubles>;
}

template <Activation KIND>
Run run_of(const Layer& layer) {
    return layer.residual ? run_of<KIND, true>(layer) : run_of<KIND, false>(layer);
}

Run run_of(const Layer& layer) {
    switch (layer.activation) {
        case Activation::relu: return run_of<Activation::relu>(layer);
        case Activation::clamp: return run_of<Activation::clamp>(layer);
        case Activation::leaky: return run_of<Activation::leaky>(layer);
        default: return run_of<Activation::none>(layer);
    }
}

// Compare positions [begin, end) with their checksums; those that are off go to *violated.
void check_run(const Layer& layer, Index begin, Index end, double* scratch, Verdict* verdict, Index** violated) {
    const Index m = layer.m, chunk = layer_chunk(layer), length = layer.positions * m;
    double *sums = scratch, *over_batch = scratch + chunk;
    for (Index low = begin; low < end; low += chunk) {
        const Index high = smaller(low + chunk, end), found = verdict->violations;
        if (layer.n > 1) sum_rows(layer.out + low * m, layer.n, length, 0, (high - low) * m, over_batch);
        for (Index i = 0; i < high - low; ++i)
            sums[i] = layer.n > 1 ? sum_run(over_batch + i * m, m) : sum_run(layer.out + (low + i) * m, m);
        compare(sums - low, layer.expected, layer.offset, layer.threshold, low, high, verdict);
        if (verdict->violations == found) continue;
        for (Index i = low; i < high; ++i)
            if (!(magnitude(sums[i - low] - (layer.expected[i] + layer.offset)) <= layer.threshold))
                *(*violated)++ = i;
    }
}

void finish_layer(const Layer& layer, Index begin, Index end, double* scratch, LayerPart* part) {
    const Index m = layer.m, chunk = layer_chunk(layer);
    const Run run = run_of(layer);
    Index* violated = layer.violated + begin;
    for (Index low = begin; low < end; low += chunk) {
        const Index high = smaller(low + chunk, end);
        Index *next = violated, from = low;
        if (layer.expected) check_run(layer, low, high, scratch, &part->verdict, &next);
        for (; violated < next; from = *violated++ + 1)
            if (from < *violated) run(layer, from * m, *violated * m, part);
        if (from < high) run(layer, from * m, high * m, part);
    }
}

// COUNT vectors from channel `at` of one pooled position, whose window starts at element `from` of an image.
template <Activation KIND, Sum SUM, int COUNT>
inline void pool_vectors(const Layer& layer, Index from, Index rows, Index columns, Index to, RunStats& stats) {
    const Index m = layer.m, row = layer.width * m, length = layer.positions * m;
    const Index pooled_length = layer.pool.out_h * layer.pool.out_w * m;
    const Floats parameter = Floats{} + layer.parameter;
    Adder<SUM, COUNT> adder;
    const float* out = layer.out + from;
    float* pooled = layer.pooled + to;
    for (Index image = 0; image < layer.n; ++image, out += length, pooled += pooled_length) {
        Floats best[COUNT];
        for (int k = 0; k < COUNT; ++k) best[k] = load_floats(out + k * W);
        for (Index y = 0; y < rows; ++y)
            for (Index x = 0; x < columns; ++x) {
                const float* p = out + y * row + x * m;
#pragma GCC unroll 4
                for (int k = 0; k < COUNT; ++k) best[k] = larger(best[k], load_floats(p + k * W));
            }
        for (int k = 0; k < COUNT; ++k) {
            const Floats v = activate<KIND>(best[k], parameter);
            store(pooled + k * W, v);
            adder.add(k, v, to, layer, stats);
        }
    }
    adder.keep(to, layer, stats);
}

// Columns begin..end of row `row` of the pooled map.
template <Activation KIND, Sum SUM>
void pool_run(const Layer& layer, Index row, Index begin, Index end, LayerPart* part) {
    const Pool& pool = layer.pool;
    const Index m = layer.m, many = m / (UNROLL * W) * UNROLL * W, whole = m / W * W;
    RunStats vectors;
    BatchStats& stats = part->stats;
    Index top, bottom;
    valid(row * pool.stride_h - pool.pad_h, 1, layer.height, pool.kernel_h, &top, &bottom);
    for (Index column = begin; column < end; ++column) {
        Index left, right;
        valid(column * pool.stride_w - pool.pad_w, 1, layer.width, pool.kernel_w, &left, &right);
        const Index y = row * pool.stride_h - pool.pad_h + top, x = column * pool.stride_w - pool.pad_w + left;
        const Index from = (y * layer.width + x) * m, to = (row * pool.out_w + column) * m;
        const Index rows = bottom - top, columns = right - left;
        for (Index at = 0; at < many; at += UNROLL * W)
            pool_vectors<KIND, SUM, UNROLL>(layer, from + at, rows, columns, to + at, vectors);
        for (Index at = many; at < whole; at += W)
            pool_vectors<KIND, SUM, 1>(layer, from + at, rows, columns, to + at, vectors);
        for (Index at = whole; at < m; ++at) {
            double total = 0;
            for (Index image = 0; image < layer.n; ++image) {
                const float* out = layer.out + image * layer.positions * m + from + at;
                float best = *out;
                for (Index dy = 0; dy < rows; ++dy)
                    for (Index dx = 0; dx < columns; ++dx) {
                        const float v = out[(dy * layer.width + dx) * m];
                        best = v > best ? v : best;
                    }
                best = activate<KIND>(best, layer.parameter);
                layer.pooled[image * pool.out_h * pool.out_w * m + to + at] = best;
                total += best;
                stats.max_abs = larger(stats.max_abs, magnitude(double(best)));
                stats.sum_squares += double(best) * best;
            }
            keep_one<SUM>(total, to + at, layer, stats);
        }
    }
    fold(vectors, stats);
    settle<SUM>(stats);
}

using PoolRun = void (*)(const Layer&, Index, Index, Index, LayerPart*);

template <Sum SUM>
PoolRun pool_run_of(const Layer& layer) {
    switch (layer.activation) {
        case Activation::relu: return pool_run<Activation::relu, SUM>;
        case Activation::clamp: return pool_run<Activation::clamp, SUM>;
        case Activation::leaky: return pool_run<Activation::leaky, SUM>;
        default: return pool_run<Activation::none, SUM>;
    }
}

void pool_layer(const Layer& layer, Index begin, Index end, double* scratch, LayerPart* part) {
    const Pool& pool = layer.pool;
    const PoolRun run = !layer.total       ? pool_run_of<Sum::none>(layer)
                        : single(layer.n) ? pool_run_of<Sum::floats>(layer)
                                          : pool_run_of<Sum::doubles>(layer);
    Index* violated = layer.violated + pool.checked_rows(begin, layer.height) * layer.width;
    Index columns = CACHE / (layer.n * layer.m * pool.kernel_h * pool.stride_w);
    if (columns < 1) columns = 1;
    for (Index row = begin; row < end; ++row)
        for (Index low = 0; low < pool.out_w; low += columns) {
            const Index high = smaller(low + columns, pool.out_w);
            if (layer.expected) {
                const Index left = pool.checked_columns(low, layer.width);
                const Index right = pool.checked_columns(high, layer.width);
                const Index last = pool.checked_rows(row + 1, layer.height);
                for (Index y = pool.checked_rows(row, layer.height); y < last; ++y)
                    check_run(layer, y * layer.width + left, y * layer.width + right, scratch, &part->verdict,
                              &violated);
            }
            run(layer, row, low, high, part);
        }
}

}  // namespace

#define HOLDFAST_JOIN_(a, b) a##b
#define HOLDFAST_JOIN(a, b) HOLDFAST_JOIN_(a, b)
extern const Kernels HOLDFAST_JOIN(kernels_, HOLDFAST_VARIANT);
const Kernels HOLDFAST_JOIN(kernels_, HOLDFAST_VARIANT) = {
    batch_sum, tap_planes, gather_taps, convolve_last<double>, convolve_last<float>, sum_rows, sum_last, compare, finish_layer, pool_layer,
};

}  // namespace holdfast
