#pragma once

namespace edm {
  template <typename T>
  class EDPutTokenT {
  public:
    EDPutTokenT() = default;
    explicit EDPutTokenT(int index) : index_(index) {}
    int index() const { return index_; }

  private:
    int index_ = -1;
  };
}  // namespace edm
