#include "passes.hpp"

#include <algorithm>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace holdfast {
namespace {

// Below this many elements a thread costs more than it saves.
constexpr Index WORTH_A_THREAD = 1 << 17;

// Call body(part, begin, end) on equal parts of [0, count), cut at multiples of `grain`.
template <class Body>
int share(Index count, Index work, Index grain, Body body) {
#if defined(_OPENMP)
    const int threads = omp_in_parallel() ? 1 : int(std::min<Index>(omp_get_max_threads(), work / WORTH_A_THREAD));
    if (threads > 1 && count > grain) {
        const Index part = (count + threads * grain - 1) / (threads * grain) * grain;
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int index = 0; index < threads; ++index)
            body(index, std::min(index * part, count), std::min((index + 1) * part, count));
        return threads;
    }
#endif
    body(0, Index(0), count);
    return 1;
}

// Scratch memory that lives as long as its thread, so that no call pays for fresh pages.
double* scratch(Index count) {
    thread_local std::vector<double> buffer;
    if (Index(buffer.size()) < count) buffer.resize(count);
    return buffer.data();
}

int max_parts() {
#if defined(_OPENMP)
    return std::max(1, omp_get_max_threads());
#else
    return 1;
#endif
}

}  // namespace

BatchStats batch_sum(const Kernels& kernels, const float* x, Index n, Index length, double* total) {
    std::vector<BatchStats> parts(max_parts());
    share(length, n * length, 16, [&](int part, Index begin, Index end) {
        kernels.batch_sum(x, n, length, begin, end, total, &parts[part]);
    });
    BatchStats all;
    for (const BatchStats& part : parts) {
        all.max_abs = std::max(all.max_abs, part.max_abs);
        all.sum_squares += part.sum_squares;
        all.total_max_abs = std::max(all.total_max_abs, part.total_max_abs);
        all.total_squares += part.total_squares;
    }
    return all;
}

void checksum_convolution(const Kernels& kernels, const double* total, const double* weights, const Geometry& g,
                          bool channels_last, double* out) {
    const Index taps = g.kernel_h * g.kernel_w, size = g.height * g.width;
    if (channels_last) {
        share(g.out_h, g.out_h * g.out_w * taps * g.channels, 1, [&](int, Index begin, Index end) {
            kernels.convolve_last(total, weights, g, begin, end, out);
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

Verdict check_sums(const Kernels& kernels, const float* out, Index n, Index m, Index positions, bool channels_last,
                   const double* expected, double offset, double threshold) {
    double* sums = scratch(positions);
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
    Verdict verdict;
    kernels.compare(sums, expected, offset, threshold, 0, positions, &verdict);
    return verdict;
}

}  // namespace holdfast
