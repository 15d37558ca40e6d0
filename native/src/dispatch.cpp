#include "dispatch.hpp"

#include <stdexcept>

namespace holdfast {

std::vector<std::string> available() {
    std::vector<std::string> names;
#if HOLDFAST_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
        names.push_back("avx512");
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) names.push_back("avx2");
#endif
#if HOLDFAST_NEON
    names.push_back("neon");  // every 64-bit Arm processor has it
#endif
    names.push_back("scalar");
    return names;
}

namespace {

void require(const std::string& name) {
    for (const std::string& known : available())
        if (known == name) return;
    throw std::invalid_argument("this processor or build has no instruction set '" + name + "'");
}

}  // namespace

const Kernels& find(const std::string& name) {
    require(name);
#if HOLDFAST_X86
    if (name == "avx512") return kernels_avx512;
    if (name == "avx2") return kernels_avx2;
#endif
#if HOLDFAST_NEON
    if (name == "neon") return kernels_neon;
#endif
    return kernels_scalar;
}

const DetectKernels& find_detect(const std::string& name) {
    require(name);
#if HOLDFAST_X86
    if (name == "avx512") return detect_avx512;
    if (name == "avx2") return detect_avx2;
#endif
#if HOLDFAST_NEON
    if (name == "neon") return detect_neon;
#endif
    return detect_scalar;
}

const SparseKernels& find_sparse(const std::string& name) {
    require(name);
#if HOLDFAST_X86
    if (name == "avx512") return sparse_avx512;
    if (name == "avx2") return sparse_avx2;
#endif
#if HOLDFAST_NEON
    if (name == "neon") return sparse_neon;
#endif
    return sparse_scalar;
}

}  // namespace holdfast
