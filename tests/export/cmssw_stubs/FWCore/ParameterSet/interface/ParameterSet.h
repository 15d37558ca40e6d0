// Test stand-in: a parameter that was not declared, or that is of another type, is an error.
#pragma once
#include <any>
#include <map>
#include <string>

#include "FWCore/Utilities/interface/Exception.h"

namespace edm {
  class ParameterSet {
  public:
    template <typename T>
    T getParameter(const std::string& name) const {
      const auto found = values_.find(name);
      if (found == values_.end()) {
        throw cms::Exception("Configuration") << "no parameter " << name;
      }
      return std::any_cast<T>(found->second);
    }
    template <typename T>
    void set(const std::string& name, const T& value) {
      values_[name] = value;
    }

  private:
    std::map<std::string, std::any> values_;
  };
}  // namespace edm
