// The inner loops, one table of them per instruction set. All work on half-open ranges, so that callers can
// share them out among threads without any reduction over positions.
#pragma once

#include <cstddef>

namespace holdfast {

using Index = std::ptrdiff_t;

// Statistics of a batch and of its sum over the batch; sum_squares is not finite if any input is not.
struct BatchStats {
    double max_abs = 0, sum_squares = 0, total_max_abs = 0, total_squares = 0;
};

// What a comparison of sums with checksums found; first is -1 where nothing was violated.
struct Verdict {
    Index violations = 0, nonfinite = 0, first = -1;
    double deviation = 0;
};

// A checksum convolution: one output channel over all `channels`, zero padding.
struct Geometry {
    Index channels, height, width;          // of the input
    Index kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
    Index out_h, out_w;

    // A 1x1 kernel whose windows all lie in the map.
    bool bare() const {
        return kernel_h * kernel_w == 1 && pad_top == 0 && pad_left == 0 && (out_h - 1) * stride_h < height &&
               (out_w - 1) * stride_w < width;
    }
    // Of those: one window for each element of the map.
    bool same() const { return stride_h == 1 && stride_w == 1 && out_h == height && out_w == width; }

    // Rows of the map that are kept in a ring while windows go over it: a power of two; doubles in each, its padding
    // included; doubles in all.
    Index ring_rows() const {
        Index rows = 1;
        while (rows <= (kernel_h - 1) * dilation_h) rows *= 2;
        return rows;
    }
    Index ring_row() const {
        const Index wide = (out_w - 1) * stride_w + (kernel_w - 1) * dilation_w + 1;
        return (wide > pad_left ? wide : pad_left) * channels;
    }
    Index ring_size() const { return bare() ? 0 : ring_rows() * ring_row(); }
};

// What follows the sum in a layer: a residual is added first, then this.
enum class Activation { none, relu, clamp, leaky };

// A maximum over windows of the activated map; padding never wins.
struct Pool {
    Index kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, out_h, out_w;  // kernel_h 0: no pool

    // The rows of the map that are checked before row `row` of the pooled one is made.
    Index checked_rows(Index row, Index height) const { return checked(row, out_h, stride_h, pad_h, height); }
    Index checked_columns(Index column, Index width) const {
        return checked(column, out_w, stride_w, pad_w, width);
    }

  private:
    static Index checked(Index at, Index count, Index stride, Index pad, Index size) {
        if (at == 0) return 0;
        const Index end = at * stride - pad;
        return at == count || end > size ? size : end < 0 ? 0 : end;
    }
};

// What a sum over the batch is kept as: doubles, or, for a single image, which is its own sum, floats.
enum class Sum { none, doubles, floats };
inline bool single(Index n) { return n == 1; }

// One layer's output (n, positions, m) on its way to becoming the next layer's input.
struct Layer {
    Index n, positions, m;
    Activation activation;
    float parameter;        // clamp: the upper bound (the lower is 0); leaky: the slope
    float* out;             // the product with its bias; the activated map afterwards
    const float* residual;  // added to it; or null
    const void* residual_total;    // what the sum of the residual over n must be; or null. See Sum
    const Geometry* geometry;      // of the check
    const void* source;            // the sum of the input over n. See Sum
    const double* weight;          // Cw1 (kernel_h, kernel_w, channels)
    double* expected;              // Co5: the sums of out over n and m are to be this, + offset; null: no check
    double offset, threshold;
    void* total;            // the sum of the activated (and pooled) map over n; or null
    Pool pool;
    Index height, width;    // of the map: positions = height * width
    float* pooled;          // (n, out_h, out_w, m); out stays as it is then
    Index* violated;        // the positions that are off, each part from its own first position on
};

// What a part of a layer's positions had.
struct LayerPart {
    BatchStats stats;
    Verdict verdict;
    bool residual_intact = true;
};

struct Kernels {
    // total[i] = sum over n of x[n * length + i], for begin <= i < end; weighted: of (n + 1) times it.
    void (*batch_sum)(const float* x, Index n, Index length, Index begin, Index end, bool weighted, double* total,
                      BatchStats*);

    // planes[t * size + i] = sum over c of weights[c * taps + t] * total[c * size + i], for begin <= i < end.
    void (*tap_planes)(const double* total, const double* weights, Index channels, Index taps, Index size,
                       Index begin, Index end, double* planes);

    // Output rows begin..end from the planes of tap_planes (size = height * width).
    void (*gather_taps)(const double* planes, const Geometry&, Index begin, Index end, double* out);

    // Outputs begin..end from total (height, width, channels) and weights (kernel_h, kernel_w, channels). ring:
    // ring_size() doubles.
    void (*convolve_last)(const double* total, const double* weights, const Geometry&, Index begin, Index end,
                          double* ring, double* out);
    void (*convolve_last_floats)(const float* total, const double* weights, const Geometry&, Index begin,
                                 Index end, double* ring, double* out);

    // sums[i] = sum over rows of out[row * length + i], for begin <= i < end.
    void (*sum_rows)(const float* out, Index rows, Index length, Index begin, Index end, double* sums);

    // sums[i] = sum over n and m of out[(n * positions + i) * m_count + m], for begin <= i < end.
    void (*sum_last)(const float* out, Index n, Index positions, Index m_count, Index begin, Index end,
                     double* sums);

    // Compare sums with expected + offset.
    void (*compare)(const double* sums, const double* expected, double offset, double threshold, Index begin,
                    Index end, Verdict*);

    // Whether the sum of x (n, length) over n is total, for begin <= i < end. See Sum.
    bool (*same_sum)(const float* x, Index n, Index length, Index begin, Index end, const void* total);

    // Check positions begin..end of a layer and finish those that pass: residual, activation, sum over n. A
    // position that is off stays as it is, and is noted. scratch: layer_scratch(layer) doubles.
    void (*finish_layer)(const Layer&, Index begin, Index end, double* scratch, LayerPart*);

    // Check a layer and pool it, for rows begin..end of the pooled map. What it makes of positions that are off is
    // worthless: correct them and call again.
    void (*pool_layer)(const Layer&, Index begin, Index end, double* scratch, LayerPart*);
};

// Positions whose sums are taken together.
constexpr int TOGETHER = 8;

// Positions that are finished together, so that a chunk of all images stays in the second-level cache between
// being checked and being finished.
constexpr Index CACHE = 1 << 16;  // floats
inline Index layer_chunk(const Layer& layer) {
    constexpr Index most = 1 << 12;  // of one image
    Index floats = CACHE / layer.n;
    if (floats > most) floats = most;
    const Index positions = floats > layer.m ? floats / layer.m : 1;
    return positions < TOGETHER ? positions : positions / TOGETHER * TOGETHER;
}
inline Index layer_scratch(const Layer& layer) {
    const Index ring = layer.expected ? layer.geometry->ring_size() : 0, row = layer.width;
    return ring + (row > layer_chunk(layer) ? row : layer_chunk(layer));
}

extern const Kernels kernels_scalar;
#if HOLDFAST_NEON
extern const Kernels kernels_neon;
#endif
#if HOLDFAST_X86
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

}  // namespace holdfast
