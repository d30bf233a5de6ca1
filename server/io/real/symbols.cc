#include "server/io/real/symbols.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace fairlead::io {
namespace {

struct Symbol {
  uint64_t from = 0, size = 0;
  std::string name;
};

std::string demangled(const char* name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string out = status == 0 && text ? text : name;
  free(text);
  return out;
}

// Where the program is in memory: the first object that the loader names.
uint64_t load_base() {
  uint64_t base = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* out) {
        *static_cast<uint64_t*>(out) = info->dlpi_addr;
        return 1;
      },
      &base);
  return base;
}

// A file that is not whole, or no ELF of this machine's words, has no symbols.
std::vector<Symbol> read_table(std::string_view file, uint64_t base) {
  std::vector<Symbol> out;
  if (file.size() < sizeof(ElfW(Ehdr)) || !file.starts_with(ELFMAG)) return out;
  const auto* head = reinterpret_cast<const ElfW(Ehdr)*>(file.data());
  auto fits = [&](uint64_t offset, uint64_t bytes) { return offset <= file.size() && bytes <= file.size() - offset; };
  if (!fits(head->e_shoff, uint64_t{head->e_shnum} * sizeof(ElfW(Shdr)))) return out;
  const auto* sections = reinterpret_cast<const ElfW(Shdr)*>(file.data() + head->e_shoff);
  for (uint32_t wanted : {SHT_SYMTAB, SHT_DYNSYM}) {
    for (size_t i = 0; i < head->e_shnum && out.empty(); ++i) {
      const auto& table = sections[i];
      if (table.sh_type != wanted || table.sh_link >= head->e_shnum) continue;
      const auto& names = sections[table.sh_link];
      if (!fits(table.sh_offset, table.sh_size) || !fits(names.sh_offset, names.sh_size)) continue;
      const auto* symbols = reinterpret_cast<const ElfW(Sym)*>(file.data() + table.sh_offset);
      std::string_view text = file.substr(names.sh_offset, names.sh_size);
      for (size_t s = 0; s < table.sh_size / sizeof(ElfW(Sym)); ++s) {
        const auto& symbol = symbols[s];
        if ((symbol.st_info & 0xf) != STT_FUNC || symbol.st_value == 0 || symbol.st_name >= text.size()) continue;
        std::string_view name = text.substr(symbol.st_name);
        out.push_back({base + symbol.st_value, symbol.st_size, std::string(name.substr(0, name.find('\0')))});
      }
    }
  }
  std::sort(out.begin(), out.end(), [](const Symbol& a, const Symbol& b) { return a.from < b.from; });
  return out;
}

std::vector<Symbol> own_table() {
  int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  struct stat about {};
  std::vector<Symbol> out;
  if (fstat(fd, &about) == 0 && about.st_size > 0) {
    auto size = static_cast<size_t>(about.st_size);
    void* memory = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (memory != MAP_FAILED) {
      out = read_table({static_cast<const char*>(memory), size}, load_base());
      munmap(memory, size);
    }
  }
  close(fd);
  return out;
}

}  // namespace

std::string symbol_of(uint64_t address) {
  static const std::vector<Symbol> table = own_table();
  auto after =
      std::upper_bound(table.begin(), table.end(), address, [](uint64_t a, const Symbol& s) { return a < s.from; });
  if (after != table.begin()) {
    const Symbol& s = *std::prev(after);
    if (address < s.from + std::max<uint64_t>(s.size, 1)) return demangled(s.name.c_str());
  }
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(address), &info) != 0 && info.dli_sname) return demangled(info.dli_sname);
  return {};
}

}  // namespace fairlead::io
