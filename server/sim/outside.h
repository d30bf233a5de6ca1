// The C library's clock and randomness, seen by whoever calls them in this program: fairlead-sim defines these
// functions itself, in front of the C library's. While a seed runs nobody may call one, be it our code or a library's:
// what comes from there is not a function of the seed.
#pragma once

#include <cstdint>
#include <string>

namespace fairlead::sim {

// While one of these lives, calls are counted (and still answered).
class NoOutside {
 public:
  NoOutside();
  ~NoOutside();
  NoOutside(const NoOutside&) = delete;
  NoOutside& operator=(const NoOutside&) = delete;
  // "" if nobody called, else which function was called first, and from where.
  static std::string first_call();
  static uint64_t calls();
};

}  // namespace fairlead::sim
