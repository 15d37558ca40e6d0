// The inner loops of detect.hpp, one table of them per instruction set. Half-open ranges, as in kernels.hpp.
#pragma once

#include "kernels.hpp"

namespace holdfast {

// Elements between neighbours of a map, or of a kernel.
struct Steps {
    Index channel, row, column;
};

struct DetectKernels {
    // Statistics of x[begin..end] of a single image, which is its own sum, copied to copy on the way.
    void (*read_image)(const float* x, Index begin, Index end, float* copy, BatchStats*);

    // planes[t * size + i] = sum over c of weights[c * taps + t] * x[c * size + i], for begin <= i < end, of a
    // single image, with what read_image does.
    void (*tap_image)(const float* x, const double* weights, Index channels, Index taps, Index size, Index begin,
                      Index end, double* planes, float* copy, BatchStats*);
    // The same of a sum, nothing else.
    void (*tap_planes)(const double* total, const double* weights, Index channels, Index taps, Index size,
                       Index begin, Index end, double* planes);

    // Both with channels last: map (size, channels), weights (taps, channels).
    void (*last_image)(const float* x, const double* weights, Index channels, Index taps, Index size, Index begin,
                       Index end, double* planes, float* copy, BatchStats*);
    void (*last_planes)(const double* total, const double* weights, Index channels, Index taps, Index size,
                        Index begin, Index end, double* planes);

    // Output rows begin..end of a checksum convolution over few channels, not dilated; map and weights lie in
    // steps. scratch: few_scratch(geometry).
    void (*few_floats)(const float* map, Steps, const double* weights, Steps, const Geometry&, Index begin,
                       Index end, double* scratch, double* out);
    void (*few_doubles)(const double* map, Steps, const double* weights, Steps, const Geometry&, Index begin,
                        Index end, double* scratch, double* out);

    // The largest |sums - expected - offset|; negative where one is not finite or exceeds the threshold.
    double (*fine)(const double* sums, const double* expected, double offset, double threshold, Index begin,
                   Index end);
};

// A ring of kernel_h rows of every channel, each split into stride_w phases, with room for whole vectors behind.
inline Index few_phase(const Geometry& g) { return g.out_w + (g.kernel_w - 1) / g.stride_w + 32; }
inline Index few_scratch(const Geometry& g) { return g.kernel_h * g.channels * g.stride_w * few_phase(g); }

extern const DetectKernels detect_scalar;
#if HOLDFAST_NEON
extern const DetectKernels detect_neon;
#endif
#if HOLDFAST_X86
extern const DetectKernels detect_avx2;
extern const DetectKernels detect_avx512;
#endif

}  // namespace holdfast
