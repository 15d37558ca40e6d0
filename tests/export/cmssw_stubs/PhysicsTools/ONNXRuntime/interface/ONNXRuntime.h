// Test stand-in of CMSSW's wrapper: the same interface and checks over the C API of the installed ONNX Runtime.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace cms::Ort {
  using FloatArrays = std::vector<std::vector<float>>;

  class ONNXRuntime {
  public:
    explicit ONNXRuntime(const std::string& path);
    ONNXRuntime(const ONNXRuntime&) = delete;
    ONNXRuntime& operator=(const ONNXRuntime&) = delete;
    ~ONNXRuntime();
    FloatArrays run(const std::vector<std::string>& inputNames,
                    FloatArrays& inputs,
                    const std::vector<std::vector<int64_t>>& shapes = {},
                    const std::vector<std::string>& outputNames = {},
                    int64_t batch = 1) const;

  private:
    void* session_ = nullptr;
  };
}  // namespace cms::Ort
