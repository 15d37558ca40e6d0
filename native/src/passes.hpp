// The passes over whole tensors: kernels shared out among OpenMP threads where a tensor is large.
#pragma once

#include "kernels.hpp"

namespace holdfast {

// total[i] = sum over n of x[n][i]; x is (n, length), contiguous.
BatchStats batch_sum(const Kernels&, const float* x, Index n, Index length, double* total);

// out (out_h, out_w) = total convolved with weights. channels_last: total (height, width, channels) and
// weights (kernel_h, kernel_w, channels); else total (channels, height, width), weights (channels, kernel_h,
// kernel_w).
void checksum_convolution(const Kernels&, const double* total, const double* weights, const Geometry&,
                          bool channels_last, double* out);

// Sum out over n and m for each position and compare with expected + offset. channels_last: out is
// (n, positions, m), else (n, m, positions); contiguous.
Verdict check_sums(const Kernels&, const float* out, Index n, Index m, Index positions, bool channels_last,
                   const double* expected, double offset, double threshold);

}  // namespace holdfast
