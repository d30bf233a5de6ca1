# ./dev fmt: clang-format over our C++ sources.

# shellcheck source=setup.sh
. "$root/e2e/lib/setup.sh"

cpp_sources() { git -C "$root" ls-files -co --exclude-standard -- '*.h' '*.cc'; }

verb_fmt() {
  setup_packages clang-format-14
  (cd "$root" && cpp_sources | xargs -r clang-format-14 -i)
  say "Formatted $(cpp_sources | wc -l) files"
}
