// CoC-D of a layer that computes its output by itself: one call before it runs, one after.
#pragma once

#include "detect_kernels.hpp"
#include "passes.hpp"

namespace holdfast {

// Everything about one layer that does not change from call to call with inputs of one shape and layout.
struct Detection {
    Geometry geometry;   // of the checksum convolution
    bool channels_last;  // of the input: (n, height, width, channels), else (n, channels, height, width)
    Index n, m;
    double offset;       // n times the sum of the bias
    Threshold threshold;
    bool verified;       // the input has to be what it was when it was summed
};

// Memory of one call.
struct Notes {
    static constexpr Index HEAD = 8;
    double* memory;

    BatchStats& stats() const { return *reinterpret_cast<BatchStats*>(memory); }
    double& threshold() const { return memory[4]; }
    double* expected() const { return memory + HEAD; }                              // Co5
    void* total(const Geometry& g) const { return expected() + g.out_h * g.out_w; }  // Cd1; floats for n = 1
};

// What a comparison found, and whether the input is still what was summed.
struct Found {
    Verdict verdict;
    bool intact = true;
};

// Sum the input over n, with its statistics, and make Co5 with weights (kernel_h, kernel_w, channels) if
// channels_last, else (channels, kernel_h, kernel_w). The threshold is multiplied by factor.
void before_layer(const Kernels&, const DetectKernels&, const Detection&, const float* x, const double* weights,
                  double factor, Notes);

// Compare the sums of out, (n, positions, m) if channels_last, else (n, m, positions), and x with its sum.
Found after_layer(const Kernels&, const DetectKernels&, const Detection&, const float* x, const float* out,
                  bool channels_last, Notes);

// As checksum_convolution in passes.hpp, with a way of its own for few channels.
void convolve_checksum(const Kernels&, const DetectKernels&, const double* total, const double* weights,
                       const Geometry&, bool channels_last, double* out);

}  // namespace holdfast
