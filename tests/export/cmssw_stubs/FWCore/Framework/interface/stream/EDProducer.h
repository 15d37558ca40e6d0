// Test stand-in: what is consumed and produced gets numbers in the order of the calls.
#pragma once
#include <string>
#include <vector>

#include "FWCore/Framework/interface/Event.h"
#include "FWCore/Utilities/interface/EDGetToken.h"
#include "FWCore/Utilities/interface/EDPutToken.h"
#include "FWCore/Utilities/interface/InputTag.h"

namespace edm {
  template <typename T>
  class GlobalCache;

  template <typename T>
  class BranchAliasSetterT {
  public:
    explicit BranchAliasSetterT(int index) : index_(index) {}
    operator EDPutTokenT<T>() { return EDPutTokenT<T>(index_); }

  private:
    int index_;
  };

  namespace stream {
    template <typename Ability>
    class EDProducer;

    template <typename T>
    class EDProducer<GlobalCache<T>> {
    public:
      using Cache = T;
      virtual ~EDProducer() = default;
      virtual void produce(Event& event, const EventSetup& setup) = 0;
      void setGlobalCache(const T* cache) { cache_ = cache; }
      const std::vector<InputTag>& consumed() const { return consumed_; }
      const std::vector<std::string>& produced() const { return produced_; }

    protected:
      template <typename Product>
      EDGetTokenT<Product> consumes(const InputTag& tag) {
        consumed_.push_back(tag);
        return EDGetTokenT<Product>(static_cast<int>(consumed_.size()) - 1);
      }
      template <typename Product>
      BranchAliasSetterT<Product> produces(const std::string& instance) {
        produced_.push_back(instance);
        return BranchAliasSetterT<Product>(static_cast<int>(produced_.size()) - 1);
      }
      const T* globalCache() const { return cache_; }

    private:
      const T* cache_ = nullptr;
      std::vector<InputTag> consumed_;
      std::vector<std::string> produced_;
    };
  }  // namespace stream
}  // namespace edm
