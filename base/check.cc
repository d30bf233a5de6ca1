#include "base/check.h"

#include <cstdlib>

namespace fairlead {
namespace {
CheckHandler g_handler = nullptr;
}

void set_check_handler(CheckHandler handler) { g_handler = handler; }

void check_failed(const char* file, int line, const char* condition, const char* message) {
  if (CheckHandler handler = g_handler) {
    g_handler = nullptr;  // a CHECK inside the handler must not recurse
    handler(file, line, condition, message);
  }
  std::abort();
}

}  // namespace fairlead
