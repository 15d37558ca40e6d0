// A layer's output: check, then residual, activation and sum over the batch.
#include "epilogue.hpp"
#include "variant.hpp"

namespace holdfast::HOLDFAST_VARIANT {
namespace {

// COUNT vectors from element `at` of every image. The batch is the inner loop, so that sums stay in registers.
template <Activation KIND, bool RESIDUAL, Sum SUM, int COUNT>
inline void finish_vectors(const Layer& layer, Index at, Index length, bool verify, RunStats& stats,
                           Bits& different) {
    const Singles parameter = Singles{} + layer.parameter;
    Adder<SUM, COUNT> adder;
    Doubles residual_total[2 * COUNT] = {};
    float* out = layer.out + at;
    const float* residual = layer.residual + at;
    for (Index image = 0; image < layer.n; ++image, out += length, residual += length) {
#pragma GCC unroll 4
        for (int k = 0; k < COUNT; ++k) {
            Singles v = load_singles(out + k * F);
            if (RESIDUAL) {
                const Singles r = load_singles(residual + k * F);
                v += r;
                if (SUM == Sum::doubles) {
                    residual_total[2 * k] += load(residual + k * F);
                    residual_total[2 * k + 1] += load(residual + k * F + W);
                }
                if (SUM == Sum::floats && verify)
                    different |=
                        (Bits)(r != load_singles(static_cast<const float*>(layer.residual_total) + at + k * F));
            }
            v = activate<KIND>(v, parameter);
            if (RESIDUAL || KIND != Activation::none) store(out + k * F, v);
            adder.add(k, v, out + k * F, at, layer, stats);
        }
    }
    adder.keep(at, layer, stats);
    if (RESIDUAL && SUM == Sum::doubles && verify)
#pragma GCC unroll 8
        for (int k = 0; k < 2 * COUNT; ++k)
            different |=
                residual_total[k] != load(static_cast<const double*>(layer.residual_total) + at + k * W);
}

// Elements [begin, end) of every image.
template <Activation KIND, bool RESIDUAL, Sum SUM>
void finish_run(const Layer& layer, Index begin, Index end, LayerPart* part) {
    const Index length = layer.positions * layer.m;
    const bool verify = RESIDUAL && SUM != Sum::none && layer.residual_total;
    RunStats vectors;
    Bits different = {};
    BatchStats& stats = part->stats;
    Index at = begin;
    for (; at + UNROLL * F <= end; at += UNROLL * F)
        finish_vectors<KIND, RESIDUAL, SUM, UNROLL>(layer, at, length, verify, vectors, different);
    for (; at + F <= end; at += F)
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

}  // namespace

void expect_positions(const Layer& layer, Index begin, Index end, double* ring) {
    if (single(layer.n))
        convolve_last_floats(static_cast<const float*>(layer.source), layer.weight, *layer.geometry, begin, end,
                             ring, layer.expected);
    else
        convolve_last(static_cast<const double*>(layer.source), layer.weight, *layer.geometry, begin, end, ring,
                      layer.expected);
}

void finish_layer(const Layer& layer, Index begin, Index end, double* scratch, LayerPart* part) {
    const Index m = layer.m, chunk = layer_chunk(layer);
    const Run run = run_of(layer);
    Index* violated = layer.violated + begin;
    if (layer.expected) expect_positions(layer, begin, end, scratch);
    for (Index low = begin; low < end; low += chunk) {
        const Index high = smaller(low + chunk, end);
        Index *next = violated, from = low;
        if (layer.expected) check_positions(layer, low, high, scratch, &part->verdict, &next);
        for (; violated < next; from = *violated++ + 1)
            if (from < *violated) run(layer, from * m, *violated * m, part);
        if (from < high) run(layer, from * m, high * m, part);
    }
}

}  // namespace holdfast::HOLDFAST_VARIANT
