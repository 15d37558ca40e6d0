#pragma once

namespace edm {
  template <typename T>
  class EDGetTokenT {
  public:
    EDGetTokenT() = default;
    explicit EDGetTokenT(int index) : index_(index) {}
    int index() const { return index_; }

  private:
    int index_ = -1;
  };
}  // namespace edm
