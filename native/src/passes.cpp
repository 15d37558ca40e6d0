#include "passes.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "share.hpp"

namespace holdfast {

BatchStats batch_sum(const Kernels& kernels, const float* x, Index n, Index length, bool weighted,
                     double* total) {
    std::vector<BatchStats> parts(max_parts());
    share(length, n * length, 16, [&](int part, Index begin, Index end) {
        kernels.batch_sum(x, n, length, begin, end, weighted, total, &parts[part]);
    });
    BatchStats all;
    for (const BatchStats& part : parts) merge(all, part);
    return all;
}

void checksum_convolution(const Kernels& kernels, const double* total, const double* weights, const Geometry& g,
                          bool channels_last, double* out) {
    const Index taps = g.kernel_h * g.kernel_w, size = g.height * g.width;
    if (channels_last) {
        const Index positions = g.out_h * g.out_w;
        share(positions, positions * taps * g.channels, 1, [&](int, Index begin, Index end) {
            kernels.convolve_last(total, weights, g, begin, end, scratch(g.ring_size()), out);
        });
        return;
    }
    const bool pointwise = taps == 1 && size == g.out_h * g.out_w && g.pad_top == 0 && g.pad_left == 0;
    double* planes = pointwise ? out : scratch(taps * size);
    share(size, size * taps * g.channels, 16, [&](int, Index begin, Index end) {
        kernels.tap_planes(total, weights, g.channels, taps, size, begin, end, planes);
    });
    if (!pointwise)
        share(g.out_h, g.out_h * g.out_w * taps, 1, [&](int, Index begin, Index end) {
            kernels.gather_taps(planes, g, begin, end, out);
        });
}

void block_sums(const Kernels& kernels, const float* out, Index n, Index m, Index positions, bool channels_last,
                double* sums) {
    if (positions == 1) {  // both layouts are one run of numbers
        kernels.sum_last(out, 1, 1, n * m, 0, 1, sums);
    } else if (channels_last) {
        share(positions, n * m * positions, 1, [&](int, Index begin, Index end) {
            kernels.sum_last(out, n, positions, m, begin, end, sums);
        });
    } else {
        share(positions, n * m * positions, 16, [&](int, Index begin, Index end) {
            kernels.sum_rows(out, n * m, positions, begin, end, sums);
        });
    }
}

Verdict check_sums(const Kernels& kernels, const float* out, Index n, Index m, Index positions, bool channels_last,
                   const double* expected, double offset, double threshold) {
    double* sums = scratch(positions);
    block_sums(kernels, out, n, m, positions, channels_last, sums);
    Verdict verdict;
    kernels.compare(sums, expected, offset, threshold, 0, positions, &verdict);
    return verdict;
}

double Threshold::of(const BatchStats& stats) const {
    double apart = products_n * stats.max_abs * stats.max_abs;
    double together = products * stats.total_max_abs * stats.total_max_abs;
    if (inside) {
        // Not std::min: what is no number must not pass for a small one.
        if (!(apart <= stats.sum_squares)) apart = stats.sum_squares;
        if (!(together <= stats.total_squares)) together = stats.total_squares;
    }
    return random * (std::sqrt(apart + together) * kernels + bias) + steady * std::sqrt(apart) + floor;
}

void carry_sum(const Kernels& kernels, const float* x, Index n, Index length, Carry output) {
    // The sum of a layer without product, residual and activation, which is only read.
    const Layer layer{n, length, 1, Activation::none, 0, const_cast<float*>(x), nullptr, nullptr,
                      nullptr, nullptr, nullptr, nullptr, 0, 0, output.total(), {}, 1, length, nullptr, nullptr};
    std::vector<LayerPart> parts(max_parts());
    share(length, n * length, 64, [&](int part, Index begin, Index end) {
        kernels.finish_layer(layer, begin, end, nullptr, &parts[part]);
    });
    BatchStats stats;
    for (const LayerPart& part : parts) merge(stats, part.stats);
    output.stats() = stats;
}

bool same_input(const Kernels& kernels, const LayerPlan& plan, const float* source, Carry input) {
    const Geometry& g = plan.geometry;
    const Index length = g.height * g.width * g.channels;
    std::vector<char> same(max_parts(), 1);
    share(length, plan.n * length, 16, [&](int part, Index begin, Index end) {
        same[part] = kernels.same_sum(source, plan.n, length, begin, end, input.total());
    });
    return std::all_of(same.begin(), same.end(), [](char part) { return part; });
}

Index finish_layer(const Kernels& kernels, const LayerPlan& plan, float* out, float* pooled, const float* residual,
                   const float* source, Carry input, Carry residual_carry, Carry output, Check check,
                   Index* violated) {
    const Geometry& g = plan.geometry;
    const Index positions = g.out_h * g.out_w, size = plan.n * plan.m * positions;
    const bool checked = input.memory;
    Layer layer{plan.n, positions, plan.m, plan.activation, plan.parameter, out, residual,
                residual && residual_carry.memory ? residual_carry.total() : nullptr,
                &g, input.memory ? input.total() : nullptr, plan.weight.data(),
                checked ? check.expected() : nullptr, plan.offset, 0,
                output.memory ? output.total() : nullptr, plan.pool, g.out_h, g.out_w, pooled, violated};
    if (checked) {
        layer.threshold = plan.threshold.of(input.stats());
    } else if (!pooled && !residual && !output.memory && plan.activation == Activation::none) {
        return 0;
    }
    const int limit = max_parts();
    thread_local std::vector<LayerPart> parts;
    parts.assign(limit, LayerPart{});
    std::vector<LayerPart>& mine = parts;
    const auto pass = pooled ? kernels.pool_layer : kernels.finish_layer;
    const Index count = pooled ? plan.pool.out_h : positions;
    const Index work = size + (checked ? positions * g.kernel_h * g.kernel_w * g.channels : 0);
    const int used = share(count, work, 1, [&](int part, Index begin, Index end) {
        pass(layer, begin, end, scratch(layer_scratch(layer)), &mine[part]);
    });
    BatchStats stats;
    Verdict all;
    bool intact = true;
    for (int part = 0; part < used; ++part) {
        const LayerPart& each = mine[part];
        merge(stats, each.stats);
        intact = intact && each.residual_intact;
        if (each.verdict.violations) {
            Index begin = part_begin(part, count, used);
            if (pooled) begin = plan.pool.checked_rows(begin, g.out_h) * g.out_w;
            std::copy_n(violated + begin, each.verdict.violations, violated + all.violations);
            if (all.first < 0) all.first = each.verdict.first;
        }
        all.violations += each.verdict.violations;
        all.nonfinite += each.verdict.nonfinite;
        all.deviation = std::max(all.deviation, each.verdict.deviation);
    }
    if (output.memory) output.stats() = stats;
    if (checked) {
        check.memory[0] = layer.threshold;
        check.memory[1] = all.deviation;
        check.memory[2] = double(all.nonfinite);
    }
    // Seen only here where its kernels add up to nothing; what the check has found is the ladder's to mend.
    if (source && !all.violations) intact = intact && same_input(kernels, plan, source, input);
    return intact ? all.violations : -1 - all.violations;
}

}  // namespace holdfast
