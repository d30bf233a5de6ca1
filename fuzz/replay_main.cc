// Runs a fuzz target over the files of a folder: its corpus as a unit test, without libFuzzer.
#include <dirent.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

bool read_file(const std::string& path, std::string& out) {
  FILE* f = fopen(path.c_str(), "rb");
  if (!f) return false;
  char buffer[65536];
  for (size_t n; (n = fread(buffer, 1, sizeof(buffer), f)) > 0;) out.append(buffer, n);
  fclose(f);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return fprintf(stderr, "usage: %s FOLDER\n", argv[0]), 2;
  DIR* folder = opendir(argv[1]);
  if (!folder) return fprintf(stderr, "cannot open %s\n", argv[1]), 1;
  int files = 0;
  while (dirent* entry = readdir(folder)) {
    std::string content;
    if (entry->d_name[0] == '.') continue;
    if (!read_file(std::string(argv[1]) + "/" + entry->d_name, content)) continue;
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(content.data()), content.size());
    ++files;
  }
  closedir(folder);
  printf("%d inputs\n", files);
  return files > 0 ? 0 : 1;
}
