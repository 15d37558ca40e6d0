// How a pass is shared out among OpenMP threads, and the memory that it may use on the way.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "kernels.hpp"

namespace holdfast {

// Below this many elements a thread costs more than it saves.
constexpr Index WORTH_A_THREAD = 1 << 15;

inline Index part_begin(int part, Index count, int threads, Index grain = 1) {
    const Index length = (count + threads * grain - 1) / (threads * grain) * grain;
    return std::min(part * length, count);
}

// Call body(part, begin, end) on equal parts of [0, count), cut at multiples of `grain`; how many there were.
template <class Body>
int share(Index count, Index work, Index grain, Body body) {
#if defined(_OPENMP)
    const int threads = omp_in_parallel() ? 1 : int(std::min<Index>(omp_get_max_threads(), work / WORTH_A_THREAD));
    if (threads > 1 && count > grain) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int index = 0; index < threads; ++index)
            body(index, part_begin(index, count, threads, grain), part_begin(index + 1, count, threads, grain));
        return threads;
    }
#endif
    body(0, Index(0), count);
    return 1;
}

// Scratch memory that lives as long as its thread, so that no call pays for fresh pages. It starts on a cache line.
inline double* scratch(Index count) {
    constexpr Index line = 8;
    thread_local std::vector<double> buffer;
    if (Index(buffer.size()) < count + line) buffer.resize(count + line);
    const Index past = Index(reinterpret_cast<std::uintptr_t>(buffer.data()) / sizeof(double)) % line;
    return buffer.data() + (line - past) % line;
}

inline void merge(BatchStats& all, const BatchStats& part) {
    all.max_abs = std::max(all.max_abs, part.max_abs);
    all.sum_squares += part.sum_squares;
    all.total_max_abs = std::max(all.total_max_abs, part.total_max_abs);
    all.total_squares += part.total_squares;
}

inline int max_parts() {
#if defined(_OPENMP)
    return std::max(1, omp_get_max_threads());
#else
    return 1;
#endif
}

}  // namespace holdfast
