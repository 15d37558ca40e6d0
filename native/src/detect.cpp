#include "detect.hpp"

#include <cstring>

#include "share.hpp"

namespace holdfast {
namespace {

Index input_length(const Geometry& g) { return g.channels * g.height * g.width; }
Index products(const Geometry& g) { return g.out_h * g.out_w * g.kernel_h * g.kernel_w * g.channels; }

// Where channels do not fill vectors, outputs are taken side by side instead.
bool few(const Geometry& g) { return g.channels < 8 && g.dilation_h == 1 && g.dilation_w == 1 && g.kernel_w > 1; }

template <class T, class Kernel>
void convolve_few(Kernel kernel, const T* map, const double* weights, const Geometry& g, bool channels_last,
                  double* out) {
    const Index taps = g.kernel_h * g.kernel_w, c = g.channels;
    const Steps steps = channels_last ? Steps{1, g.width * c, c} : Steps{g.height * g.width, g.width, 1};
    const Steps w = channels_last ? Steps{1, g.kernel_w * c, c} : Steps{taps, g.kernel_w, 1};
    share(g.out_h, products(g), 1, [&](int, Index begin, Index end) {
        kernel(map, steps, weights, w, g, begin, end, scratch(few_scratch(g)), out);
    });
}

// With channels last and a stride, most of the products that planes are made of would not be used.
bool by_entries(const Geometry& g, bool channels_last) {
    return !few(g) && (!channels_last || g.kernel_h * g.kernel_w == 1 || (g.stride_h == 1 && g.stride_w == 1));
}

// A plane for each kernel entry, then their sum, shifted. make(begin, end, planes, part).
template <class Make>
void by_planes(const Kernels& kernels, const Geometry& g, double* out, Make make) {
    const Index taps = g.kernel_h * g.kernel_w, size = g.height * g.width;
    const bool pointwise = taps == 1 && size == g.out_h * g.out_w && g.pad_top == 0 && g.pad_left == 0;
    double* planes = pointwise ? out : scratch(taps * size);
    share(size, size * taps * g.channels, 16,
          [&](int part, Index begin, Index end) { make(begin, end, planes, part); });
    if (!pointwise)
        share(g.out_h, g.out_h * g.out_w * taps, 1,
              [&](int, Index begin, Index end) { kernels.gather_taps(planes, g, begin, end, out); });
}

BatchStats merged(const std::vector<BatchStats>& parts) {
    BatchStats all;
    for (const BatchStats& part : parts) merge(all, part);
    return all;
}

// A single image, which is its own sum.
BatchStats before_image(const Kernels& kernels, const DetectKernels& detect, const Detection& d, const float* x,
                        const double* weights, Notes notes) {
    const Geometry& g = d.geometry;
    float* copy = static_cast<float*>(notes.total(g));
    double* out = notes.expected();
    std::vector<BatchStats> parts(max_parts());
    if (by_entries(g, d.channels_last)) {
        const auto make = d.channels_last ? detect.last_image : detect.tap_image;
        by_planes(kernels, g, out, [&](Index begin, Index end, double* planes, int part) {
            make(x, weights, g.channels, g.kernel_h * g.kernel_w, g.height * g.width, begin, end, planes, copy,
                 &parts[part]);
        });
        return merged(parts);
    }
    const Index length = input_length(g);
    share(length, length, 16, [&](int part, Index begin, Index end) {
        detect.read_image(x, begin, end, copy, &parts[part]);
    });
    if (few(g))
        convolve_few(detect.few_floats, copy, weights, g, d.channels_last, out);
    else
        share(g.out_h * g.out_w, products(g), 1, [&](int, Index begin, Index end) {
            kernels.convolve_last_floats(copy, weights, g, begin, end, scratch(g.ring_size()), out);
        });
    return merged(parts);
}

}  // namespace

void convolve_checksum(const Kernels& kernels, const DetectKernels& detect, const double* total,
                       const double* weights, const Geometry& g, bool channels_last, double* out) {
    if (few(g)) return convolve_few(detect.few_doubles, total, weights, g, channels_last, out);
    if (!by_entries(g, channels_last)) return checksum_convolution(kernels, total, weights, g, channels_last, out);
    const auto make = channels_last ? detect.last_planes : detect.tap_planes;
    by_planes(kernels, g, out, [&](Index begin, Index end, double* planes, int) {
        make(total, weights, g.channels, g.kernel_h * g.kernel_w, g.height * g.width, begin, end, planes);
    });
}

void before_layer(const Kernels& kernels, const DetectKernels& detect, const Detection& d, const float* x,
                  const double* weights, double factor, Notes notes) {
    if (d.n == 1) {
        notes.stats() = before_image(kernels, detect, d, x, weights, notes);
    } else {
        double* total = static_cast<double*>(notes.total(d.geometry));
        notes.stats() = batch_sum(kernels, x, d.n, input_length(d.geometry), false, total);
        convolve_checksum(kernels, detect, total, weights, d.geometry, d.channels_last, notes.expected());
    }
    notes.threshold() = factor * d.threshold.of(notes.stats());
}

Found after_layer(const Kernels& kernels, const DetectKernels& detect, const Detection& d, const float* x,
                  const float* out, bool channels_last, Notes notes) {
    const Index positions = d.geometry.out_h * d.geometry.out_w, length = input_length(d.geometry);
    Found found;
    if (d.verified && d.n == 1) {
        found.intact = !std::memcmp(x, notes.total(d.geometry), length * sizeof(float));
    } else if (d.verified) {
        double* again = scratch(length);
        batch_sum(kernels, x, d.n, length, false, again);
        found.intact = !std::memcmp(again, notes.total(d.geometry), length * sizeof(double));
    }
    double* sums = scratch(positions);
    block_sums(kernels, out, d.n, d.m, positions, channels_last, sums);
    found.verdict.deviation =
        detect.fine(sums, notes.expected(), d.offset, notes.threshold(), 0, positions);
    if (!(found.verdict.deviation >= 0)) {
        found.verdict = {};
        kernels.compare(sums, notes.expected(), d.offset, notes.threshold(), 0, positions, &found.verdict);
    }
    return found;
}

}  // namespace holdfast
