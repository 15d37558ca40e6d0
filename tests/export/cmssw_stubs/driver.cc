// Runs the package's module over events from standard input, as the framework would; products go to standard output.
// Arguments: NAME=0|1 for wrapColumns and seeds. An event: maps, one after another, then the number of seeds and
// the seeds if they are read. Output: for each event and product the number of its values, and these.
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "FWCore/Framework/interface/stream/EDProducer.h"
#include "FWCore/Framework/interface/MakerMacros.h"

namespace {
  template <typename T>
  std::vector<T> read(std::size_t count) {
    std::vector<T> values(count);
    std::cin.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(T)));
    return values;
  }

  void write(const std::vector<float>& values) {
    const auto count = static_cast<std::int32_t>(values.size());
    std::cout.write(reinterpret_cast<const char*>(&count), sizeof(count));
    std::cout.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(4 * values.size()));
  }
}  // namespace

int main(int count, char** words) try {
  auto config = stub::defaults();
  bool seeded = false;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "seeds=1") {
      seeded = true;
      config.set("seeds", edm::InputTag("seeds", ""));
    } else if (word.starts_with("wrapColumns=")) {
      config.set("wrapColumns", word.back() == '1');
    } else {
      throw cms::Exception("driver") << word;
    }
  }
  const auto cells = std::size_t{config.getParameter<unsigned int>("rows")} * config.getParameter<unsigned int>("columns");
  const auto module = stub::make(config);
  const int maps = static_cast<int>(module.consumed.size()) - seeded;
  for (const auto& name : module.produced) {
    std::cerr << name << "\n";
  }
  while (std::cin.peek() != EOF) {
    edm::Event event;
    for (int map = 0; map < maps; ++map) {
      event.setInput(map, read<float>(cells));
    }
    if (seeded) {
      event.setInput(maps, read<int>(static_cast<std::size_t>(read<int>(1)[0])));
    }
    module.produce(event);
    if (event.outputs().size() != module.produced.size()) {
      throw cms::Exception("driver") << "announced products are missing";
    }
    for (const auto& [index, product] : event.outputs()) {
      if (const auto* values = std::any_cast<std::vector<float>>(&product)) {
        write(*values);
      } else {
        write({std::any_cast<float>(product)});
      }
    }
  }
  module.end();
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
