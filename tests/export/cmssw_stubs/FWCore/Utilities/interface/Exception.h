// Test stand-in: an exception that text can be streamed into.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace cms {
  class Exception : public std::exception {
  public:
    explicit Exception(const std::string& category) : text_(category + ": ") {}
    const char* what() const noexcept override { return text_.c_str(); }
    void append(const std::string& text) { text_ += text; }

  private:
    std::string text_;
  };

  template <typename E, typename T>
    requires std::is_base_of_v<Exception, std::remove_reference_t<E>>
  E&& operator<<(E&& exception, const T& value) {
    std::ostringstream stream;
    stream << value;
    exception.append(stream.str());
    return static_cast<E&&>(exception);
  }
}  // namespace cms
