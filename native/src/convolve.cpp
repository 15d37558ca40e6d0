// The checksum convolution: sums over the batch with sums over the kernels.
#include "variant.hpp"
#include "vectors.hpp"

namespace holdfast::HOLDFAST_VARIANT {
namespace {

// ---- channels first: a plane for each tap, then their shifted sum --------------------------------------------

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

// The outputs o with 0 <= o * stride + shift < size, as a half-open range within [0, count).
inline void valid(Index shift, Index stride, Index size, Index count, Index* low, Index* high) {
    *low = shift < 0 ? smaller((-shift + stride - 1) / stride, count) : 0;
    *high = shift >= size ? *low : smaller((size - 1 - shift) / stride + 1, count);
    if (*high < *low) *high = *low;
}

// ---- channels last: products of whole windows ---------------------------------------------------------------

// The kernel as runs of numbers that lie together both in it and in the map, `step` apart in the map.
struct Runs {
    Index count, length, step;

    explicit Runs(const Geometry& g)
        : count(g.dilation_w == 1 ? 1 : g.kernel_w),
          length(g.dilation_w == 1 ? g.kernel_w * g.channels : g.channels),
          step(g.dilation_w * g.channels) {}
};

// Where the rows of the map are that the rows of the kernel meet; null outside of the map.
template <class T>
struct Rows {
    const T* memory;
    Index top, dilation, height, mask, wide;  // row y is number y & mask of those that are kept

    const T* of(Index r) const {
        const Index y = top + r * dilation;
        return y < 0 || y >= height ? nullptr : memory + (y & mask) * wide;
    }
};

// COUNT windows that are `step` apart, the first at element `at` of its rows; each weight is loaded once.
template <int COUNT, class T>
inline void windows(const Rows<T>& rows, Index kernel_h, Index at, Index step, const Runs& runs,
                    const double* weights, double* out) {
    const Index length = runs.length, whole = length / W * W, rest = length - whole;
    const Bits last = last_lanes(rest);  // of the vector that ends with the run: what is left to do
    Doubles sums[COUNT] = {};
    double tails[COUNT] = {};
    for (Index r = 0; r < kernel_h; ++r) {
        const T* row = rows.of(r);
        if (!row) continue;
        for (Index s = 0; s < runs.count; ++s) {
            const T* from = row + at + s * runs.step;
            const double* kernel = weights + (r * runs.count + s) * length;
            for (Index i = 0; i < whole; i += W) {
                const Doubles w = load(kernel + i);
#pragma GCC unroll 8
                for (int k = 0; k < COUNT; ++k) sums[k] += w * load(from + k * step + i);
            }
            if (!rest) continue;
            if (whole) {
                const Doubles w = (Doubles)((Bits)load(kernel + length - W) & last);
#pragma GCC unroll 8
                for (int k = 0; k < COUNT; ++k) sums[k] += w * load(from + k * step + length - W);
            } else {
                for (Index i = 0; i < length; ++i)
                    for (int k = 0; k < COUNT; ++k) tails[k] += kernel[i] * from[k * step + i];
            }
        }
    }
    if constexpr (COUNT % W == 0) {
        for (int k = 0; k < COUNT; k += W) store(out + k, sum_each(sums + k) + load(tails + k));
    } else {
        for (int k = 0; k < COUNT; ++k) out[k] = sum(sums[k]) + tails[k];
    }
}

// `count` windows, at most COUNT.
template <int COUNT, class T>
inline void some_windows(Index count, const Rows<T>& rows, Index kernel_h, Index at, Index step, const Runs& runs,
                         const double* weights, double* out) {
    if (count == COUNT)
        windows<COUNT>(rows, kernel_h, at, step, runs, weights, out);
    else if constexpr (COUNT > 1)
        some_windows<COUNT - 1>(count, rows, kernel_h, at, step, runs, weights, out);
}

// Outputs first..last of one row, into out[first] and so on.
template <class T>
inline void convolve_row(const Rows<T>& rows, const Geometry& g, const double* weights, Index first, Index last,
                         double* out) {
    const Index step = g.stride_w * g.channels;
    const Runs runs(g);
    Index x = first;
    for (; x + TOGETHER <= last; x += TOGETHER)
        windows<TOGETHER>(rows, g.kernel_h, x * step, step, runs, weights, out + x);
    if (x == last) return;
    if (last - first >= TOGETHER) {  // some of them again, rather than few at a time
        x = last - TOGETHER;
        windows<TOGETHER>(rows, g.kernel_h, x * step, step, runs, weights, out + x);
    } else {
        some_windows<TOGETHER - 1>(last - x, rows, g.kernel_h, x * step, step, runs, weights, out + x);
    }
}

// Row y of the map in doubles between `left` and `right` zeros.
template <class T>
inline void pad_row(const T* row, Index length, Index left, Index right, double* padded) {
    for (Index i = 0; i < left; ++i) padded[i] = 0;
    padded += left;
    Index i = 0;
    for (; i + W <= length; i += W) store(padded + i, load(row + i));
    for (; i < length; ++i) padded[i] = row[i];
    for (i = length; i < length + right; ++i) padded[i] = 0;
}

template <class T>
void convolve(const T* total, const double* weights, const Geometry& g, Index begin, Index end, double* ring,
              double* out) {
    const Index length = g.width * g.channels;
    if (g.bare()) {
        const Index wide = g.same() ? g.out_h * g.out_w : g.out_w;
        for (Index at = begin; at < end;) {
            const Index y = at / wide, first = at - y * wide, last = smaller(wide, first + end - at);
            const Rows<T> rows{total + y * g.stride_h * length, 0, 1, 1, 0, 0};
            convolve_row(rows, g, weights, first, last, out + y * wide);
            at += last - first;
        }
        return;
    }
    const Index span = g.ring_rows(), wide = g.ring_row(), left = g.pad_left * g.channels;
    const Index kept = smaller(length, wide - left), right = wide - left - kept;
    Index next = 0;  // the first row of the map that is not in the ring yet
    for (Index at = begin; at < end;) {
        const Index y = at / g.out_w, first = at - y * g.out_w, last = smaller(g.out_w, first + end - at);
        const Rows<double> rows{ring, y * g.stride_h - g.pad_top, g.dilation_h, g.height, span - 1, wide};
        if (rows.top > next) next = rows.top;
        for (; next < g.height && next <= rows.top + (g.kernel_h - 1) * g.dilation_h; ++next)
            pad_row(total + next * length, kept, left, right, ring + (next & rows.mask) * wide);
        convolve_row(rows, g, weights, first, last, out + y * g.out_w);
        at += last - first;
    }
}

}  // namespace

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

void convolve_last(const double* total, const double* weights, const Geometry& g, Index begin, Index end,
                   double* ring, double* out) {
    convolve(total, weights, g, begin, end, ring, out);
}

void convolve_last_floats(const float* total, const double* weights, const Geometry& g, Index begin, Index end,
                          double* ring, double* out) {
    convolve(total, weights, g, begin, end, ring, out);
}

}  // namespace holdfast::HOLDFAST_VARIANT
