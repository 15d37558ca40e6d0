// A layer's output that is checked and pooled.
#include "epilogue.hpp"
#include "variant.hpp"

namespace holdfast::HOLDFAST_VARIANT {
namespace {

// The outputs o with 0 <= o * stride + shift < size, as a half-open range within [0, count).
inline void valid(Index shift, Index stride, Index size, Index count, Index* low, Index* high) {
    *low = shift < 0 ? smaller((-shift + stride - 1) / stride, count) : 0;
    *high = shift >= size ? *low : smaller((size - 1 - shift) / stride + 1, count);
    if (*high < *low) *high = *low;
}

// COUNT vectors from channel `at` of one pooled position, whose window starts at element `from` of an image.
template <Activation KIND, Sum SUM, int COUNT>
inline void pool_vectors(const Layer& layer, Index from, Index rows, Index columns, Index to, RunStats& stats) {
    const Index m = layer.m, row = layer.width * m, length = layer.positions * m;
    const Index pooled_length = layer.pool.out_h * layer.pool.out_w * m;
    const Singles parameter = Singles{} + layer.parameter;
    Adder<SUM, COUNT> adder;
    const float* out = layer.out + from;
    float* pooled = layer.pooled + to;
    for (Index image = 0; image < layer.n; ++image, out += length, pooled += pooled_length) {
        Singles best[COUNT];
        for (int k = 0; k < COUNT; ++k) best[k] = load_singles(out + k * F);
        for (Index y = 0; y < rows; ++y)
            for (Index x = 0; x < columns; ++x) {
                const float* p = out + y * row + x * m;
#pragma GCC unroll 4
                for (int k = 0; k < COUNT; ++k) best[k] = larger(best[k], load_singles(p + k * F));
            }
        for (int k = 0; k < COUNT; ++k) {
            const Singles v = activate<KIND>(best[k], parameter);
            store(pooled + k * F, v);
            adder.add(k, v, pooled + k * F, to, layer, stats);
        }
    }
    adder.keep(to, layer, stats);
}

// Columns begin..end of row `row` of the pooled map.
template <Activation KIND, Sum SUM>
void pool_run(const Layer& layer, Index row, Index begin, Index end, LayerPart* part) {
    const Pool& pool = layer.pool;
    const Index m = layer.m, many = m / (UNROLL * F) * UNROLL * F, whole = m / F * F;
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
        for (Index at = 0; at < many; at += UNROLL * F)
            pool_vectors<KIND, SUM, UNROLL>(layer, from + at, rows, columns, to + at, vectors);
        for (Index at = many; at < whole; at += F)
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

}  // namespace

void pool_layer(const Layer& layer, Index begin, Index end, double* scratch, LayerPart* part) {
    const Pool& pool = layer.pool;
    const PoolRun run = !layer.total       ? pool_run_of<Sum::none>(layer)
                        : single(layer.n) ? pool_run_of<Sum::floats>(layer)
                                          : pool_run_of<Sum::doubles>(layer);
    Index* violated = layer.violated + pool.checked_rows(begin, layer.height) * layer.width;
    Index columns = CACHE / (layer.n * layer.m * pool.kernel_h * pool.stride_w);
    if (columns < 1) columns = 1;
    if (layer.expected)
        expect_positions(layer, pool.checked_rows(begin, layer.height) * layer.width,
                         pool.checked_rows(end, layer.height) * layer.width, scratch);
    for (Index row = begin; row < end; ++row)
        for (Index low = 0; low < pool.out_w; low += columns) {
            const Index high = smaller(low + columns, pool.out_w);
            if (layer.expected) {
                const Index left = pool.checked_columns(low, layer.width);
                const Index right = pool.checked_columns(high, layer.width);
                const Index last = pool.checked_rows(row + 1, layer.height);
                for (Index y = pool.checked_rows(row, layer.height); y < last; ++y)
                    check_positions(layer, y * layer.width + left, y * layer.width + right, scratch, &part->verdict,
                                    &violated);
            }
            run(layer, row, low, high, part);
        }
}

}  // namespace holdfast::HOLDFAST_VARIANT
