// Python face of the native core. Tensors come as addresses: a DLPack round trip costs 2 µs a tensor, an
// address 0.1 µs, and kernels/native.py has checked dtype, layout and size.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <stdexcept>

#include "detect.hpp"
#include "dispatch.hpp"
#include "passes.hpp"
#include "sparse.hpp"

namespace nb = nanobind;
using namespace holdfast;

namespace {

template <class T>
T* at(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

// The kernels of one instruction set.
class Core {
  public:
    explicit Core(const std::string& isa)
        : isa_(isa), kernels_(holdfast::find(isa)), detect_(find_detect(isa)), sparse_(find_sparse(isa)) {}

    const std::string& isa() const { return isa_; }

    nb::tuple batch_sum(std::uintptr_t x, Index n, Index length, bool weighted, std::uintptr_t total) const {
        BatchStats stats;
        {
            nb::gil_scoped_release release;
            stats = holdfast::batch_sum(kernels_, at<const float>(x), n, length, weighted, at<double>(total));
        }
        return nb::make_tuple(stats.max_abs, stats.sum_squares, stats.total_max_abs, stats.total_squares);
    }

    void carry_sum(std::uintptr_t x, Index n, Index length, std::uintptr_t carry) const {
        nb::gil_scoped_release release;
        holdfast::carry_sum(kernels_, at<const float>(x), n, length, {at<double>(carry)});
    }

    void block_sums(std::uintptr_t out, Index n, Index m, Index positions, bool channels_last,
                    std::uintptr_t sums) const {
        nb::gil_scoped_release release;
        holdfast::block_sums(kernels_, at<const float>(out), n, m, positions, channels_last, at<double>(sums));
    }

    Index finish_layer(const LayerPlan& plan, std::uintptr_t out, std::uintptr_t pooled, std::uintptr_t residual,
                       std::uintptr_t input, std::uintptr_t residual_carry, std::uintptr_t output,
                       std::uintptr_t check, std::uintptr_t violated, std::uintptr_t source) const {
        nb::gil_scoped_release release;
        return holdfast::finish_layer(kernels_, plan, at<float>(out), at<float>(pooled), at<const float>(residual),
                                      at<const float>(source), {at<double>(input)}, {at<double>(residual_carry)},
                                      {at<double>(output)}, {at<double>(check)}, at<Index>(violated));
    }

    void checksum_convolution(std::uintptr_t total, std::uintptr_t weights, const Geometry& geometry,
                              bool channels_last, std::uintptr_t out) const {
        nb::gil_scoped_release release;
        convolve_checksum(kernels_, detect_, at<const double>(total), at<const double>(weights), geometry,
                          channels_last, at<double>(out));
    }

    nb::tuple check_sums(std::uintptr_t out, Index n, Index m, Index positions, bool channels_last,
                         std::uintptr_t expected, double offset, double threshold) const {
        Verdict verdict;
        {
            nb::gil_scoped_release release;
            verdict = holdfast::check_sums(kernels_, at<const float>(out), n, m, positions, channels_last,
                                           at<const double>(expected), offset, threshold);
        }
        return nb::make_tuple(verdict.violations, verdict.nonfinite, verdict.deviation, verdict.first);
    }

    void before_layer(const Detection& detection, std::uintptr_t x, std::uintptr_t weights, double factor,
                      std::uintptr_t notes) const {
        nb::gil_scoped_release release;
        holdfast::before_layer(kernels_, detect_, detection, at<const float>(x), at<const double>(weights), factor,
                               {at<double>(notes)});
    }

    nb::tuple after_layer(const Detection& detection, std::uintptr_t x, std::uintptr_t out, bool channels_last,
                          std::uintptr_t notes) const {
        const Notes noted{at<double>(notes)};
        Found found;
        {
            nb::gil_scoped_release release;
            found = holdfast::after_layer(kernels_, detect_, detection, at<const float>(x), at<const float>(out),
                                          channels_last, noted);
        }
        const Verdict& v = found.verdict;
        return nb::make_tuple(v.violations, v.nonfinite, v.deviation, v.first, noted.threshold(), found.intact);
    }

    void sparse_run(const SparseProgram& program, std::uintptr_t arena,
                    const std::vector<std::uintptr_t>& given) const {
        std::vector<const float*> tensors;
        for (std::uintptr_t address : given) tensors.push_back(at<const float>(address));
        nb::gil_scoped_release release;
        program.run(sparse_, at<float>(arena), tensors);
    }

    std::vector<double> sparse_time(const SparseProgram& program, std::uintptr_t arena,
                                    const std::vector<std::uintptr_t>& given) const {
        std::vector<const float*> tensors;
        for (std::uintptr_t address : given) tensors.push_back(at<const float>(address));
        std::vector<double> seconds(program.steps.size());
        nb::gil_scoped_release release;
        program.run(sparse_, at<float>(arena), tensors, seconds.data());
        return seconds;
    }

  private:
    std::string isa_;
    const Kernels& kernels_;
    const DetectKernels& detect_;
    const SparseKernels& sparse_;
};

Geometry geometry(const std::vector<Index>& v) {
    if (v.size() != 13) throw std::invalid_argument("a geometry has 13 numbers");
    for (std::size_t i = 0; i < v.size(); ++i)
        if (v[i] < (i == 7 || i == 8 ? 0 : 1)) throw std::invalid_argument("a size in a geometry is too small");
    return {v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11], v[12]};
}

LayerPlan layer_plan(const std::vector<Index>& shape, const std::vector<double>& weight, Index n, Index m,
                     double offset, int activation, double parameter, const std::vector<double>& threshold,
                     bool inside, const std::vector<Index>& p) {
    const Geometry g = geometry(shape);
    if (Index(weight.size()) != g.channels * g.kernel_h * g.kernel_w)
        throw std::invalid_argument("the weight does not fit the geometry");
    if (n < 1 || m < 1 || activation < 0 || activation > 3 || threshold.size() != 7 || p.size() != 8)
        throw std::invalid_argument("a layer's plan is out of range");
    const std::vector<double>& t = threshold;
    return {g, weight, n, m, offset, Activation(activation), float(parameter),
            {t[0], t[1], t[2], t[3], t[4], t[5], t[6], inside},
            {p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]}};
}

Detection detection(const std::vector<Index>& shape, bool channels_last, Index n, Index m, double offset,
                    const std::vector<double>& t, bool inside, bool verified) {
    if (n < 1 || m < 1 || t.size() != 7) throw std::invalid_argument("a layer's detection is out of range");
    return {geometry(shape), channels_last, n, m, offset, {t[0], t[1], t[2], t[3], t[4], t[5], t[6], inside},
            verified};
}

void add_copy(SparseProgram& program, Index slot, Index from, Index to, const std::vector<Index>& size,
              const std::vector<Index>& from_step, const std::vector<Index>& to_step) {
    if (size.size() != 4 || from_step.size() != 4 || to_step.size() != 4)
        throw std::invalid_argument("a copy has four loops");
    SparseCopy copy{slot, from, to, {}, {}, {}};
    for (int i = 0; i < 4; ++i)
        copy.size[i] = size[i], copy.from_step[i] = from_step[i], copy.to_step[i] = to_step[i];
    program.steps.push_back(copy);
}

void add_sums(SparseProgram& program, const std::vector<std::uintptr_t>& weights, std::uintptr_t inside,
              const std::vector<Index>& grid, Index channels, Index kept, Index in, Index residual, Index out,
              Index plane, Index tile, float lowest, float highest) {
    if (weights.size() != 4 || grid.size() != 6 || tile < 1 || tile > SPARSE_TILE)
        throw std::invalid_argument("a sparse layer is out of range");
    const auto ints = [&](int i) { return at<const int>(weights[i]); };
    const auto floats = [&](int i) { return at<const float>(weights[i]); };
    const std::vector<Index>& g = grid;
    program.steps.push_back(SparseSums{{ints(0), ints(1), floats(2), floats(3)}, at<const int>(inside),
                                       {g[0], g[1], g[2], g[3], g[4], g[5]}, channels, kept, in, residual, out,
                                       plane, tile, lowest, highest});
}

}  // namespace

NB_MODULE(_native, m) {
    m.def("available", &available, "Instruction sets that this processor can run, best first.");
    nb::class_<Geometry>(m, "Geometry").def(
        "__init__", [](Geometry* self, const std::vector<Index>& v) { new (self) Geometry(geometry(v)); });
    nb::class_<LayerPlan>(m, "LayerPlan")
        .def("__init__",
             [](LayerPlan* self, const std::vector<Index>& shape, const std::vector<double>& weight, Index n,
                Index outputs, double offset, int activation, double parameter,
                const std::vector<double>& threshold, bool inside, const std::vector<Index>& pool) {
                 new (self) LayerPlan(layer_plan(shape, weight, n, outputs, offset, activation, parameter,
                                                 threshold, inside, pool));
             });
    nb::class_<Detection>(m, "Detection")
        .def("__init__", [](Detection* self, const std::vector<Index>& shape, bool channels_last, Index n,
                            Index outputs, double offset, const std::vector<double>& threshold, bool inside,
                            bool verified) {
            new (self) Detection(detection(shape, channels_last, n, outputs, offset, threshold, inside, verified));
        });
    nb::class_<SparseProgram>(m, "SparseProgram")
        .def(nb::init<>())
        .def("copy", &add_copy)
        .def("sums", &add_sums)
        .def("__len__", [](const SparseProgram& program) { return program.steps.size(); });
    nb::class_<Core>(m, "Core")
        .def(nb::init<const std::string&>())
        .def_prop_ro("isa", &Core::isa)
        .def("batch_sum", &Core::batch_sum)
        .def("checksum_convolution", &Core::checksum_convolution)
        .def("check_sums", &Core::check_sums)
        .def("block_sums", &Core::block_sums)
        .def("before_layer", &Core::before_layer)
        .def("after_layer", &Core::after_layer)
        .def("carry_sum", &Core::carry_sum)
        .def("sparse_run", &Core::sparse_run)
        .def("sparse_time", &Core::sparse_time)
        .def("finish_layer", &Core::finish_layer, nb::arg("plan"), nb::arg("out"), nb::arg("pooled"),
             nb::arg("residual"), nb::arg("input"), nb::arg("residual_carry"), nb::arg("output"), nb::arg("check"),
             nb::arg("violated"), nb::arg("source") = 0);
}
