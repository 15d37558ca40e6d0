// Test stand-in: the one module of the package, made as the framework makes it: description, cache, producer.
#pragma once
#include <functional>
#include <memory>

#include "FWCore/Framework/interface/Event.h"
#include "FWCore/ParameterSet/interface/ConfigurationDescriptions.h"

namespace stub {
  struct Module {
    std::function<void(edm::Event&)> produce;
    std::vector<edm::InputTag> consumed;
    std::vector<std::string> produced;
    std::function<void()> end;
  };

  inline std::function<edm::ParameterSet()> defaults;
  inline std::function<Module(const edm::ParameterSet&)> make;

  template <typename T>
  struct Registration {
    Registration() {
      defaults = [] {
        edm::ConfigurationDescriptions descriptions;
        T::fillDescriptions(descriptions);
        return descriptions.defaults();
      };
      make = [](const edm::ParameterSet& config) {
        std::shared_ptr<typename T::Cache> cache = T::initializeGlobalCache(config);
        auto made = std::make_shared<T>(config, cache.get());
        made->setGlobalCache(cache.get());
        // Called through the base, as the framework does: the producer's own is private.
        edm::stream::EDProducer<edm::GlobalCache<typename T::Cache>>& base = *made;
        return Module{[made, cache, &base](edm::Event& event) { base.produce(event, edm::EventSetup{}); },
                      base.consumed(),
                      base.produced(),
                      [cache] { T::globalEndJob(cache.get()); }};
      };
    }
  };
}  // namespace stub

#define DEFINE_FWK_MODULE(type) static const stub::Registration<type> registered
