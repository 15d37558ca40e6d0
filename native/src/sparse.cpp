#include "sparse.hpp"

#include <chrono>
#include <cstring>

#include "share.hpp"

namespace holdfast {
namespace {

void copy(const SparseCopy& c, const float* from, float* to) {
    const Index* n = c.size;
    const Index *f = c.from_step, *t = c.to_step;
    share(n[0], n[0] * n[1] * n[2] * n[3], 1, [&](int, Index begin, Index end) {
        for (Index i = begin; i < end; ++i)
            for (Index j = 0; j < n[1]; ++j)
                for (Index k = 0; k < n[2]; ++k) {
                    const float* p = from + i * f[0] + j * f[1] + k * f[2];
                    float* q = to + i * t[0] + j * t[1] + k * t[2];
                    if (f[3] == 1 && t[3] == 1)
                        std::memcpy(q, p, n[3] * sizeof(float));
                    else if (t[3] == 1)
                        for (Index l = 0; l < n[3]; ++l) q[l] = p[l * f[3]];
                    else
                        for (Index l = 0; l < n[3]; ++l) q[l * t[3]] = p[l * f[3]];
                }
    });
}

// Rows are shared out where there are several, else columns, and channels where there are too few of those.
void layer(const SparseKernels& kernels, const SparseSums& s, SparseGrid grid, const float* in,
           const SparseOutput& to) {
    const SparsePart all{0, s.channels, 0, grid.rows, 0, grid.columns};
    const Index work = s.kept * grid.rows * grid.columns;
    const Index tiles = (grid.columns + s.tile - 1) / s.tile, enough = 2 * max_parts();
    if (grid.rows >= enough)
        share(grid.rows, work, 1, [&](int, Index begin, Index end) {
            SparsePart part = all;
            part.row_begin = begin, part.row_end = end;
            kernels.sums(s.weights, grid, in, to, s.tile, part);
        });
    else if (tiles >= enough)
        share(grid.columns, work, s.tile, [&](int, Index begin, Index end) {
            SparsePart part = all;
            part.column_begin = begin, part.column_end = end;
            kernels.sums(s.weights, grid, in, to, s.tile, part);
        });
    else
        share(s.channels, work, 1, [&](int, Index begin, Index end) {
            SparsePart part = all;
            part.first = begin, part.last = end;
            kernels.sums(s.weights, grid, in, to, s.tile, part);
        });
}

void sums(const SparseKernels& kernels, const SparseSums& s, float* arena) {
    const float* residual = s.residual < 0 ? nullptr : arena + s.residual;
    SparseGrid grid = s.grid;
    const bool close = !grid.in_column;
    if (close) {
        grid.columns = (grid.columns + kernels.lanes - 1) / kernels.lanes;
        grid.in_column = grid.out_column = kernels.lanes;
    }
    // Pixels that do not lie side by side are taken in as many vectors as each is long.
    for (Index at = 0; at < (close ? 1 : SPARSE_PIXEL); at += kernels.lanes)
        layer(kernels, s, grid, arena + s.in + at,
              {residual ? residual + at : nullptr, s.inside, arena + s.out + at, s.plane, s.lowest, s.highest});
}

}  // namespace

void SparseProgram::run(const SparseKernels& kernels, float* arena, const std::vector<const float*>& given,
                        double* seconds) const {
    using Clock = std::chrono::steady_clock;
    for (const SparseStep& step : steps) {
        const Clock::time_point begin = seconds ? Clock::now() : Clock::time_point();
        if (const auto* c = std::get_if<SparseCopy>(&step))
            copy(*c, (c->slot < 0 ? arena : given[c->slot]) + c->from, arena + c->to);
        else
            sums(kernels, std::get<SparseSums>(step), arena);
        if (seconds) *seconds++ = std::chrono::duration<double>(Clock::now() - begin).count();
    }
}

}  // namespace holdfast
