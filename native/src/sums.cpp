// Sums over the batch and over the channels, and their comparison with checksums.
#include "variant.hpp"
#include "vectors.hpp"

namespace holdfast::HOLDFAST_VARIANT {
namespace {

constexpr Index BLOCK = 2048;  // doubles that stay in the first-level cache while the batch streams past

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

// The sums of COUNT positions, a multiple of W, over all images and channels.
template <int COUNT>
inline void sum_positions(const float* out, Index n, Index length, Index m, double* sums) {
    const Index whole = m / W * W, rest = m - whole;
    const Bits last = last_lanes(rest);  // of the vector that ends with the channels: what is left to add
    Doubles totals[COUNT] = {};
    for (Index image = 0; image < n; ++image, out += length) {
        for (Index i = 0; i < whole; i += W)
#pragma GCC unroll 8
            for (int k = 0; k < COUNT; ++k) totals[k] += load(out + k * m + i);
        if (rest)
#pragma GCC unroll 8
            for (int k = 0; k < COUNT; ++k)
                totals[k] += (Doubles)((Bits)load(out + (k + 1) * m - W) & last);
    }
    for (int k = 0; k < COUNT; k += W) store(sums + k, sum_each(totals + k));
}

// All deviations at most the threshold, and that a number: then only the largest is of interest.
inline bool all_fine(const double* sums, const double* expected, double offset, double threshold, Index begin,
                     Index end, double* deviation) {
    if (!(threshold <= 1.7976931348623157e308)) return false;
    Doubles most = {};
    Bits off = {};
    Index i = begin;
    for (; i + W <= end; i += W) {
        const Doubles apart = magnitude(load(sums + i) - (load(expected + i) + offset));
        off |= ~(apart <= threshold);
        most = larger(most, apart);
    }
    double found = 0;
    for (Index lane = 0; lane < W; ++lane) {
        if (off[lane]) return false;
        found = larger(found, most[lane]);
    }
    for (; i < end; ++i) {
        const double apart = magnitude(sums[i] - (expected[i] + offset));
        if (!(apart <= threshold)) return false;
        found = larger(found, apart);
    }
    *deviation = larger(*deviation, found);
    return true;
}

}  // namespace

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
    if (all_fine(sums, expected, offset, threshold, begin, end, &verdict->deviation)) return;
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

bool same_sum(const float* x, Index n, Index length, Index begin, Index end, const void* total) {
    Bits different = {};
    Index i = begin;
    if (single(n)) {
        const float* sums = static_cast<const float*>(total);
        for (; i + W <= end; i += W) different |= load(x + i) != load(sums + i);
        for (; i < end; ++i)
            if (x[i] != sums[i]) return false;
    } else {
        const double* sums = static_cast<const double*>(total);
        for (; i + W <= end; i += W) {
            Doubles found = {};
            for (Index image = 0; image < n; ++image) found += load(x + image * length + i);
            different |= found != load(sums + i);
        }
        for (; i < end; ++i) {
            double found = 0;
            for (Index image = 0; image < n; ++image) found += x[image * length + i];
            if (found != sums[i]) return false;
        }
    }
    for (Index lane = 0; lane < W; ++lane)
        if (different[lane]) return false;
    return true;
}

void check_positions(const Layer& layer, Index begin, Index end, double* sums, Verdict* verdict,
                     Index** violated) {
    const Index m = layer.m, length = layer.positions * m, found = verdict->violations;
    const float* out = layer.out + begin * m;
    Index i = 0;
    if (m >= W)
        for (; i + TOGETHER <= end - begin; i += TOGETHER)
            sum_positions<TOGETHER>(out + i * m, layer.n, length, m, sums + i);
    for (; i < end - begin; ++i) {
        sums[i] = 0;
        for (Index image = 0; image < layer.n; ++image) sums[i] += sum_run(out + image * length + i * m, m);
    }
    compare(sums - begin, layer.expected, layer.offset, layer.threshold, begin, end, verdict);
    if (verdict->violations == found) return;
    for (i = begin; i < end; ++i)
        if (!(magnitude(sums[i - begin] - (layer.expected[i] + layer.offset)) <= layer.threshold))
            *(*violated)++ = i;
}

}  // namespace holdfast::HOLDFAST_VARIANT
