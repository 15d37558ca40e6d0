#pragma once
#include <string>

#include "FWCore/ParameterSet/interface/ParameterSet.h"

namespace edm {
  class ParameterDescriptionNode {
  public:
    void setComment(const std::string& comment) {
      if (comment.empty()) {
        throw cms::Exception("Configuration") << "an empty comment";
      }
    }
  };

  class ParameterSetDescription {
  public:
    template <typename T>
    ParameterDescriptionNode* add(const std::string& name, const T& value) {
      defaults_.set(name, value);
      return &node_;
    }
    const ParameterSet& defaults() const { return defaults_; }

  private:
    ParameterSet defaults_;
    ParameterDescriptionNode node_;
  };
}  // namespace edm
