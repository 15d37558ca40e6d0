// The stand-in of CMSSW's wrapper. The C API is a table of functions that only ever grows; the numbers are their
// places in it.
#include <dlfcn.h>

#include <cstdlib>
#include <stdexcept>

#include "FWCore/Utilities/interface/Exception.h"
#include "PhysicsTools/ONNXRuntime/interface/ONNXRuntime.h"

namespace {
  struct Base {
    const void* const* (*getApi)(uint32_t version);
    const char* (*getVersion)();
  };

  const void* const* api() {
    static const void* const* const table = [] {
      void* library = dlopen(std::getenv("ONNXRUNTIME_LIBRARY"), RTLD_NOW | RTLD_LOCAL);
      if (library == nullptr) {
        throw std::runtime_error(dlerror());
      }
      return reinterpret_cast<const Base* (*)()>(dlsym(library, "OrtGetApiBase"))()->getApi(17);
    }();
    return table;
  }

  template <int place, typename... Args>
  void call(Args... args) {
    if (void* status = reinterpret_cast<void* (*)(Args...)>(const_cast<void*>(api()[place]))(args...)) {
      throw cms::Exception("ONNXRuntime")
          << reinterpret_cast<const char* (*)(void*)>(const_cast<void*>(api()[2]))(status);
    }
  }

  template <int place>
  void release(void* object) {
    reinterpret_cast<void (*)(void*)>(const_cast<void*>(api()[place]))(object);
  }
}  // namespace

namespace cms::Ort {
  ONNXRuntime::ONNXRuntime(const std::string& path) {
    static void* environment = [] {
      void* made = nullptr;
      call<3>(3, "test", &made);  // CreateEnv
      return made;
    }();
    void* options = nullptr;
    call<10>(&options);  // CreateSessionOptions
    call<24>(options, 1);  // SetIntraOpNumThreads
    call<7>(environment, path.c_str(), options, &session_);  // CreateSession
    release<100>(options);
  }

  ONNXRuntime::~ONNXRuntime() { release<95>(session_); }

  FloatArrays ONNXRuntime::run(const std::vector<std::string>& inputNames,
                               FloatArrays& inputs,
                               const std::vector<std::vector<int64_t>>& shapes,
                               const std::vector<std::string>& outputNames,
                               int64_t batch) const {
    if (inputNames.size() != 1 || inputs.size() != 1 || shapes.size() != 1 || outputNames.empty()) {
      throw cms::Exception("RuntimeError") << "expected one input and named outputs";
    }
    int64_t length = 1;
    for (const auto side : shapes[0]) {
      length *= side;
    }
    if (batch < 1 || shapes[0][0] != batch || length != static_cast<int64_t>(inputs[0].size())) {
      throw cms::Exception("RuntimeError") << "shape, batch and values disagree";
    }
    void *memory = nullptr, *input = nullptr;
    call<69>(1, 0, &memory);  // CreateCpuMemoryInfo
    call<49>(memory, inputs[0].data(), inputs[0].size() * sizeof(float), shapes[0].data(), shapes[0].size(), 1, &input);
    const char* inputName = inputNames[0].c_str();
    std::vector<const char*> names;
    for (const auto& name : outputNames) {
      names.push_back(name.c_str());
    }
    std::vector<void*> outputs(names.size(), nullptr);
    void* const noOptions = nullptr;
    call<9>(session_, noOptions, &inputName, &input, std::size_t{1}, names.data(), names.size(), outputs.data());  // Run
    FloatArrays found;
    for (void* output : outputs) {
      void* shape = nullptr;
      float* values = nullptr;
      std::size_t count = 0;
      call<65>(output, &shape);  // GetTensorTypeAndShape
      call<64>(shape, &count);   // GetTensorShapeElementCount
      call<51>(output, &values);  // GetTensorMutableData
      found.emplace_back(values, values + count);
      release<99>(shape);
      release<96>(output);
    }
    release<96>(input);
    release<94>(memory);
    return found;
  }
}  // namespace cms::Ort
