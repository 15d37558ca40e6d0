// Which instruction set runs: the best that this processor has, or the one that HOLDFAST_ISA names.
#pragma once

#include <string>
#include <vector>

#include "detect_kernels.hpp"
#include "kernels.hpp"
#include "sparse_kernels.hpp"

namespace holdfast {

// Names of the variants that this processor can run, best first.
std::vector<std::string> available();

// The kernels called `name`. Throws std::invalid_argument where it is not among available().
const Kernels& find(const std::string& name);
const DetectKernels& find_detect(const std::string& name);
const SparseKernels& find_sparse(const std::string& name);

}  // namespace holdfast
