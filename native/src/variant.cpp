// The table of one instruction set.
#include "variant.hpp"

#define HOLDFAST_JOIN_(a, b) a##b
#define HOLDFAST_JOIN(a, b) HOLDFAST_JOIN_(a, b)

namespace holdfast {

extern const Kernels HOLDFAST_JOIN(kernels_, HOLDFAST_VARIANT);
const Kernels HOLDFAST_JOIN(kernels_, HOLDFAST_VARIANT) = {
    HOLDFAST_VARIANT::batch_sum,
    HOLDFAST_VARIANT::tap_planes,
    HOLDFAST_VARIANT::gather_taps,
    HOLDFAST_VARIANT::convolve_last,
    HOLDFAST_VARIANT::convolve_last_floats,
    HOLDFAST_VARIANT::sum_rows,
    HOLDFAST_VARIANT::sum_last,
    HOLDFAST_VARIANT::compare,
    HOLDFAST_VARIANT::same_sum,
    HOLDFAST_VARIANT::finish_layer,
    HOLDFAST_VARIANT::pool_layer,
};

}  // namespace holdfast
