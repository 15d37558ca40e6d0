#pragma once
#include <iostream>
#include <string>

namespace edm {
  class LogWarning {
  public:
    explicit LogWarning(const std::string& category) { std::cerr << category << ": "; }
    ~LogWarning() { std::cerr << "\n"; }
    template <typename T>
    LogWarning& operator<<(const T& value) {
      std::cerr << value;
      return *this;
    }
  };
}  // namespace edm
