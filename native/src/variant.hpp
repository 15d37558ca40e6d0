// What one instruction set has: the functions of its table, each in a file by subject, all in a namespace of the
// variant's own.
#pragma once

#include "kernels.hpp"

namespace holdfast::HOLDFAST_VARIANT {

void batch_sum(const float* x, Index n, Index length, Index begin, Index end, bool weighted, double* total,
               BatchStats*);
void sum_rows(const float* out, Index rows, Index length, Index begin, Index end, double* sums);
void sum_last(const float* out, Index n, Index positions, Index m_count, Index begin, Index end, double* sums);
void compare(const double* sums, const double* expected, double offset, double threshold, Index begin, Index end,
             Verdict*);
bool same_sum(const float* x, Index n, Index length, Index begin, Index end, const void* total);
void tap_planes(const double* total, const double* weights, Index channels, Index taps, Index size, Index begin,
                Index end, double* planes);
void gather_taps(const double* planes, const Geometry&, Index begin, Index end, double* out);
void convolve_last(const double* total, const double* weights, const Geometry&, Index begin, Index end,
                   double* ring, double* out);
void convolve_last_floats(const float* total, const double* weights, const Geometry&, Index begin, Index end,
                          double* ring, double* out);
// Check positions begin..end; those that are off go to *violated, which moves on. sums: end - begin doubles.
void check_positions(const Layer&, Index begin, Index end, double* sums, Verdict*, Index** violated);
// Co5 of positions begin..end of a layer.
void expect_positions(const Layer&, Index begin, Index end, double* ring);
void finish_layer(const Layer&, Index begin, Index end, double* scratch, LayerPart*);
void pool_layer(const Layer&, Index begin, Index end, double* scratch, LayerPart*);

}  // namespace holdfast::HOLDFAST_VARIANT
