#pragma once
#include <string>

namespace edm {
  class InputTag {
  public:
    InputTag() = default;
    InputTag(const std::string& label, const std::string& instance) : label_(label), instance_(instance) {}
    const std::string& label() const { return label_; }
    const std::string& instance() const { return instance_; }

  private:
    std::string label_, instance_;
  };
}  // namespace edm
