// Names of addresses in this program, from its own symbol table (ELF's .symtab, or .dynsym in a stripped one), and from
// the libraries that are loaded.
//
// Threads: any; the table is read at the first call, which takes a while.
#pragma once

#include <cstdint>
#include <string>

namespace fairlead::io {

std::string symbol_of(uint64_t address);  // demangled; empty: unknown

}  // namespace fairlead::io
