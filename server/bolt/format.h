// The fixed parts of a bbolt database file, the form in which etcd keeps and hands out its data: docs/formats/bbolt.md
// has the layout. Little-endian. Shared by writer and reader.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fairlead::bolt {

using PageId = uint64_t;

constexpr uint32_t kMagic = 0xED0CDAED;
constexpr uint32_t kVersion = 2;
constexpr size_t kPageBytes = 4096;  // of files that we write; others may have larger or smaller ones
constexpr size_t kPageBytesMin = 512;
constexpr size_t kPageBytesMax = 64 << 10;

constexpr uint16_t kBranchPage = 1;
constexpr uint16_t kLeafPage = 2;
constexpr uint16_t kMetaPage = 4;
constexpr uint16_t kFreelistPage = 16;

constexpr size_t kPageHeaderBytes = 16;
constexpr size_t kElementBytes = 16;  // in front of each item, on leaves and on branches
constexpr size_t kMetaBytes = 64;
constexpr size_t kBucketHeaderBytes = 16;
constexpr uint32_t kBucketFlag = 1;         // of a leaf element: the value is a bucket
constexpr uint16_t kElementsMax = 0xFFFE;   // of a page; the count has 16 bits and all ones is special
constexpr uint16_t kFreelistLong = 0xFFFF;  // of the list's count: the first number is the count
constexpr PageId kNoFreelist = ~PageId{0};  // the list of free pages is not written down
constexpr PageId kFirstDataPage = 2;        // behind the two meta pages
constexpr size_t kKeyBytesMax = 32768;      // bbolt's own limits
constexpr size_t kValueBytesMax = (size_t{1} << 31) - 2;

struct PageHeader {
  PageId id = 0;
  uint16_t flags = 0;
  uint16_t count = 0;
  uint32_t overflow = 0;  // pages that follow and belong to it
};
char* store_page_header(char* out, const PageHeader& header);
PageHeader load_page_header(const char* in);  // kPageHeaderBytes

struct Meta {
  uint32_t page_bytes = kPageBytes;
  PageId root = 0;  // of the bucket of buckets
  PageId freelist = 0;
  PageId pages = 0;  // the file's; every page's number is below it
  uint64_t txid = 0;
};
char* store_meta(char* out, const Meta& meta);  // kMetaBytes, with its checksum
// Nothing unless magic, version and checksum are right.
std::optional<Meta> load_meta(std::string_view in);

}  // namespace fairlead::bolt
