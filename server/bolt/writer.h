// Writes a bbolt file front to back, without seeking and without a temporary file. The file begins with the number of
// its last page, so its content is gone through twice: a first Writer counts, a second one, made from the first one's
// Layout, hands out bytes. Both must be given the same items; that the sizes came out equal is checked at the end.
//
// Pages are made bottom up as items come: a branch page follows the leaves below it, so that what is held is one open
// page a level, whatever the file's size. Items that do not fit a page get one of their own with overflow pages behind.
//
// Errors: none; giving items out of order is a bug of the caller (CHECK). Threads: none of its own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/bolt/format.h"

namespace fairlead::bolt {

struct Layout {
  PageId pages = 0;
  PageId root = 0;
  uint64_t bytes() const { return pages * kPageBytes; }
  bool operator==(const Layout&) const = default;
};

class Writer {
 public:
  Writer();  // counts
  // Appends to `out` whatever is complete; the owner takes it away whenever it likes. The head is there at once.
  Writer(const Layout& layout, std::string* out);

  // Buckets come in the order of their names, items in the order of their keys.
  void begin_bucket(std::string_view name);
  void add(std::string_view key, std::string_view value);
  // Room for a value that the caller fills in: `fill(char*)` is called with space for value_bytes, or not at all when
  // only counting. The key must be in order as for add().
  template <typename Fill>
  void add(std::string_view key, size_t value_bytes, Fill&& fill) {
    char* room = add_item(key, value_bytes, 0);
    if (room) fill(room);
  }
  void end_bucket();
  // Behind the last bucket.
  Layout finish();

 private:
  struct Level {  // an open page; level 0 holds leaves
    std::string elements;
    std::string data;  // keys and values, in the order of the elements
    std::vector<uint32_t> offsets;
    size_t bytes = 0;  // of the page so far, header included
    size_t count = 0;
    std::string first_key;
    size_t pages = 0;  // closed so far in this bucket
  };
  char* add_item(std::string_view key, size_t value_bytes, uint32_t flags);
  void add_child(size_t level, std::string_view first_key, PageId child);
  void begin_page(size_t level, std::string_view first_key);
  PageId close_page(size_t level);
  PageId close_tree();

  const bool counting_;
  std::string* out_ = nullptr;
  Layout promised_;
  PageId next_ = 0;
  std::vector<Level> levels_;
  std::string last_key_;
  bool any_key_ = false;
  bool in_bucket_ = false;
  struct Bucket {
    std::string name;
    PageId root = 0;
  };
  std::vector<Bucket> buckets_;
};

}  // namespace fairlead::bolt
