#pragma once
#include "FWCore/ParameterSet/interface/ParameterSetDescription.h"

namespace edm {
  class ConfigurationDescriptions {
  public:
    void addWithDefaultLabel(const ParameterSetDescription& description) { description_ = description; }
    const ParameterSet& defaults() const { return description_.defaults(); }

  private:
    ParameterSetDescription description_;
  };
}  // namespace edm
