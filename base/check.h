// CHECK: for what we did to ourselves. Always on, in every build: a broken invariant ends the process before it can
// spread to disk or to another member. What the world does to us (bad input, a full disk, a lost peer) is a Status.
#pragma once

namespace fairlead {

// Called with the place and the text of a failed CHECK, before abort(). base itself never prints: a program installs a
// handler that writes to its log (server/io does). The handler may run on any thread and must not return normally more
// than once; after it returns the process aborts.
using CheckHandler = void (*)(const char* file, int line, const char* condition, const char* message);
void set_check_handler(CheckHandler handler);

[[noreturn]] void check_failed(const char* file, int line, const char* condition, const char* message);

}  // namespace fairlead

#define FAIRLEAD_CHECK_1(condition) \
  (static_cast<bool>(condition) ? void(0) : ::fairlead::check_failed(__FILE__, __LINE__, #condition, ""))
#define FAIRLEAD_CHECK_2(condition, message) \
  (static_cast<bool>(condition) ? void(0) : ::fairlead::check_failed(__FILE__, __LINE__, #condition, message))
#define FAIRLEAD_CHECK_PICK(_1, _2, name, ...) name
// CHECK(condition) or CHECK(condition, "why this must hold"); the message is a C string.
#define CHECK(...) FAIRLEAD_CHECK_PICK(__VA_ARGS__, FAIRLEAD_CHECK_2, FAIRLEAD_CHECK_1)(__VA_ARGS__)
