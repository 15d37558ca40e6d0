// The passes over whole tensors: kernels shared out among OpenMP threads where a tensor is large.
#pragma once

#include <vector>

#include "kernels.hpp"

namespace holdfast {

// total[i] = sum over n of x[n][i], of (n + 1) x[n][i] if weighted; x is (n, length), contiguous.
BatchStats batch_sum(const Kernels&, const float* x, Index n, Index length, bool weighted, double* total);

// out (out_h, out_w) = total convolved with weights. channels_last: total (height, width, channels) and
// weights (kernel_h, kernel_w, channels); else total (channels, height, width), weights (channels, kernel_h,
// kernel_w).
void checksum_convolution(const Kernels&, const double* total, const double* weights, const Geometry&,
                          bool channels_last, double* out);

// Sum out over n and m for each position and compare with expected + offset. channels_last: out is
// (n, positions, m), else (n, m, positions); contiguous.
Verdict check_sums(const Kernels&, const float* out, Index n, Index m, Index positions, bool channels_last,
                   const double* expected, double offset, double threshold);

// sums[p] = sum of out over n and m; layout as in check_sums.
void block_sums(const Kernels&, const float* out, Index n, Index m, Index positions, bool channels_last,
                double* sums);

// The analytic threshold with the constants of one layer and one batch size worked out (abft/threshold.py).
struct Threshold {
    double products_n, products;  // K N, K
    double random, kernels, bias; // random * (sqrt(apart + together) * kernels + bias)
    double steady;                // + steady * sqrt(apart)
    double floor;                 // + floor
    bool inside;

    double of(const BatchStats& stats) const;
};

// A sum over the batch with its statistics, as it is carried from the layer that made it to those that use it:
// doubles, or floats for a single image.
struct Carry {
    static constexpr Index HEAD = 8;  // doubles before the sum, so that it starts on a cache line
    double* memory;

    BatchStats& stats() const { return *reinterpret_cast<BatchStats*>(memory); }
    void* total() const { return memory + HEAD; }
};

// What a check was made with: threshold, verdict; then the checksums Co5.
struct Check {
    static constexpr Index HEAD = 8;
    double* memory;

    double* expected() const { return memory + HEAD; }
};

// Everything about one layer that does not change from call to call with inputs of one shape.
struct LayerPlan {
    Geometry geometry;           // of the checksum convolution
    std::vector<double> weight;  // Cw1 (kernel_h, kernel_w, channels)
    Index n, m;
    double offset;               // n times the sum of the bias
    Activation activation;
    float parameter;
    Threshold threshold;
    Pool pool;
};

// Sum x (n, length) over n into a carry.
void carry_sum(const Kernels&, const float* x, Index n, Index length, Carry output);

// Whether the sum of a layer's input over n is what was carried, bit for bit: a layer's source is (n, positions,
// channels).
bool same_input(const Kernels&, const LayerPlan&, const float* source, Carry input);

// Check and finish one layer, in place (into pooled, if the plan has a pool): Co5 from the carried sum of the
// input, S5, comparison, residual, activation, sum of the result. Carries may be empty: without input nothing is
// checked, without output nothing is summed. source: the input of a Linear, to be compared with its carried sum;
// or null. Returns how many positions are off, v, listed in violated; -1 - v if the residual, or -1 if the source,
// is not what its sum says.
Index finish_layer(const Kernels&, const LayerPlan&, float* out, float* pooled, const float* residual,
                   const float* source, Carry input, Carry residual_carry, Carry output, Check check, Index* violated);

}  // namespace holdfast
