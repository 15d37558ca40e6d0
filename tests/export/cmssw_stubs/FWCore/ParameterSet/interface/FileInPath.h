// Test stand-in: files are looked for below $CMSSW_SEARCH_PATH, and must be there.
#pragma once
#include <cstdlib>
#include <fstream>
#include <string>

#include "FWCore/Utilities/interface/Exception.h"

namespace edm {
  class FileInPath {
  public:
    explicit FileInPath(const std::string& path) : path_(std::string(std::getenv("CMSSW_SEARCH_PATH")) + "/" + path) {
      if (!std::ifstream(path_)) {
        throw cms::Exception("FileInPathError") << path_;
      }
    }
    const std::string& fullPath() const { return path_; }

  private:
    std::string path_;
  };
}  // namespace edm
