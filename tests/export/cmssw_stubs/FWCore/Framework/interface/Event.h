// Test stand-in: products by number, of the type that they were announced with.
#pragma once
#include <any>
#include <map>
#include <utility>

#include "FWCore/Utilities/interface/EDGetToken.h"
#include "FWCore/Utilities/interface/EDPutToken.h"
#include "FWCore/Utilities/interface/Exception.h"

namespace edm {
  class EventSetup {};

  class Event {
  public:
    template <typename T>
    const T& get(const EDGetTokenT<T>& token) const {
      if (!inputs_.contains(token.index())) {
        throw cms::Exception("ProductNotFound") << token.index();
      }
      return std::any_cast<const T&>(inputs_.at(token.index()));
    }
    template <typename T, typename... Args>
    void emplace(const EDPutTokenT<T>& token, Args&&... args) {
      if (token.index() < 0 || !outputs_.emplace(token.index(), T(std::forward<Args>(args)...)).second) {
        throw cms::Exception("InsertFailure") << "product " << token.index();
      }
    }
    template <typename T>
    void setInput(int index, T value) {
      inputs_[index] = std::move(value);
    }
    const std::map<int, std::any>& outputs() const { return outputs_; }

  private:
    std::map<int, std::any> inputs_, outputs_;
  };
}  // namespace edm
