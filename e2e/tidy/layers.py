#!/usr/bin/env python3
"""Proves the layer rule of ARCHITECTURE.md over the sources and the CMake link lists.

For each folder the table below names the folders it may use. Pure folders may include nothing but
harmless headers of the standard library. Only server/io and the entry points may open the door to
the operating system. Prints one line a finding; the exit code is 1 if there is one.
"""
import pathlib
import re
import subprocess
import sys

RAFT, MVCC, IO, NET = "server/raft", "server/mvcc", "server/io", "server/net"
STORAGE, PEER, API, NODE = "server/storage", "server/peer", "server/api", "server/node"
DISCOVERY, PROXY = "server/discovery", "server/proxy"
BOLT, IMPORT = "server/bolt", "server/import"
SERVER = [RAFT, MVCC, IO, NET, BOLT, STORAGE, PEER, API, NODE]
PLAN, CRD, KUBE, MEMBER = "operator/plan", "operator/crd", "operator/kube", "operator/member"

# folder: what it may use besides itself and base
LAYERS = {
    "base": [],
    "proto": [],
    RAFT: [],
    MVCC: [],
    IO: [],
    NET: [IO],
    BOLT: [IO, MVCC],
    STORAGE: [IO, RAFT, MVCC],
    PEER: [NET, IO, RAFT, MVCC, "proto"],
    NODE: [PEER, STORAGE, BOLT, NET, IO, RAFT, MVCC],
    IMPORT: [NODE, STORAGE, BOLT, IO, RAFT, MVCC],
    API: [NODE, NET, IO, RAFT, MVCC, "proto"],
    DISCOVERY: [NET, IO, "proto"],
    PROXY: [NET, IO, "proto"],
    "server/main": SERVER + [DISCOVERY, PROXY, IMPORT] + ["proto"],
    "server/sim": SERVER + ["proto"],
    PLAN: [],
    CRD: [PLAN],
    KUBE: [CRD, PLAN],
    MEMBER: [PLAN, "proto"],
    "operator/main": [PLAN, CRD, KUBE, MEMBER],
    "operator/sim": [PLAN, CRD, KUBE, MEMBER, "operator/main", RAFT],
    "fuzz": [],
    "ctl": [IMPORT, BOLT, STORAGE, IO, MVCC, "proto"],
    "bench": [NET, IO, "proto"],
    "e2e": [NET, IO, "proto"],
}
PURE = [RAFT, MVCC, PLAN]

# Standard headers without clock, thread, lock, file, stream or randomness.
PURE_HEADERS = set("""
    algorithm array bit bitset cctype charconv cinttypes climits cmath compare concepts cstddef cstdint
    cstdio cstdlib cstring deque functional initializer_list iterator limits list map memory new
    numeric optional ostream queue ranges set span sstream string string_view tuple type_traits
    typeinfo unordered_map unordered_set utility variant vector
""".split())
PURE_WORDS = re.compile(
    r"\b(std::(chrono|thread|jthread|mutex|shared_mutex|atomic\w*|random_device|mt19937\w*|this_thread|"
    r"condition_variable|ifstream|ofstream|fstream|cout|cerr|filesystem|rand)|absl::|google::protobuf|"
    r"getenv|fopen|thread_local)\b")

# The operating system, for everybody in server/ but io and the entry points.
OS_HEADERS = re.compile(
    r"^(sys/.*|unistd\.h|fcntl\.h|pthread\.h|time\.h|ctime|netinet/.*|arpa/.*|netdb\.h|signal\.h|poll\.h|"
    r"thread|mutex|shared_mutex|condition_variable|future|random|fstream|filesystem|liburing\.h)$")
OS_WORDS = re.compile(r"\b(\w+_clock::now|std::random_device|getenv)\b")
OS_ALLOWED = [IO, "server/main", "server/sim"]
# A pin of segments may be dropped by any thread, so the list of files to remove has a lock. Name servers are asked
# before anything else starts.
OS_EXCEPTIONS = {(STORAGE, "mutex")} | {(DISCOVERY, h) for h in ("arpa/nameser.h", "netdb.h", "netinet/in.h")}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
LINES_MAX = 900
# Where somebody's checkout stands is nobody else's business.
FORBIDDEN = re.compile(r"(?<![\w.$}])/(home|Users|work)/\w")


def tracked_files(root):
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=root,
                         stdout=subprocess.PIPE, check=True).stdout
    return sorted(p for p in out.decode().split("\0") if p and (root / p).is_file())


def layer_of(path):
    """The folder of the table that a path belongs to, or None."""
    best = None
    for folder in LAYERS:
        if path.startswith(folder + "/") and (best is None or len(folder) > len(best)):
            best = folder
    return best


def is_test(path):
    name = pathlib.PurePath(path).name
    return bool(re.search(r"_(test|bench)(_\w+)?\.(cc|h)$", name)) or name.startswith("test_") or "/testing/" in path


def code_of(line):
    return re.sub(r'"(\\.|[^"\\])*"', '""', line).split("//")[0]


def check_source(path, lines, found):
    layer = layer_of(path)
    if layer is None:
        found.append(f"{path}: its folder has no row in LAYERS")
        return
    test = is_test(path)
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        match = INCLUDE.match(line)
        if match:
            quoted, header = match.group(1) == '"', match.group(2)
            if quoted:
                check_own_include(where, layer, header, test, found)
            elif not test:
                check_system_include(where, layer, header, found)
            continue
        if test:
            continue
        code = code_of(line)
        if layer in PURE and (word := PURE_WORDS.search(code)):
            found.append(f"{where}: {layer} is pure and must not use {word.group(0)}")
        if layer.startswith("server/") and layer not in OS_ALLOWED and (word := OS_WORDS.search(code)):
            found.append(f"{where}: only server/io may use {word.group(0)}")


def check_own_include(where, layer, header, test, found):
    target = layer_of(header)
    if target is None:
        if not header.startswith(layer + "/") and "/" not in header:
            found.append(f'{where}: include "{header}" from the root of the tree')
        return
    allowed = LAYERS[layer] + [layer, "base"]
    if test and layer == MEMBER:
        allowed = allowed + ["operator/sim"]
    if target not in allowed:
        found.append(f"{where}: {layer} must not use {target}")


def check_system_include(where, layer, header, found):
    if layer in PURE and header not in PURE_HEADERS:
        found.append(f"{where}: {layer} is pure and must not include <{header}>")
    elif layer.startswith("server/") and layer not in OS_ALLOWED and OS_HEADERS.match(header) and (layer, header) not in OS_EXCEPTIONS:
        found.append(f"{where}: only server/io may include <{header}>")


def check_links(path, text, found):
    """fairlead_library(NAME ... DEPS a b c): each fairlead_* there must be a folder below."""
    layer = layer_of(path)
    if layer is None:
        return
    text = re.sub(r"#.*", "", text)
    names = {f"fairlead_{pathlib.PurePath(folder).name}": folder for folder in LAYERS
             if folder not in ("server/main", "operator/main", "server/sim", "operator/sim")}
    for call in re.finditer(r"fairlead_(library|binary)\s*\(([^)]*)\)|target_link_libraries\s*\(([^)]*)\)", text):
        body = call.group(2) or call.group(3) or ""
        for word in re.findall(r"\bfairlead_\w+", body):
            target = names.get(word)
            if target and target not in LAYERS[layer] + [layer, "base"]:
                found.append(f"{path}: {layer} must not link {word}")
            if word == "fairlead_proto_grpc" and layer.startswith("server/"):
                found.append(f"{path}: gRPC C++ is not the server's front door; {layer} must not link {word}")


def check(root):
    """All findings of a tree, and how many C++ sources it has."""
    found = []
    sources = 0
    for path in tracked_files(root):
        try:
            text = (root / path).read_text()
        except UnicodeDecodeError:
            continue
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            if FORBIDDEN.search(line):
                found.append(f"{path}:{number}: names a path outside the project")
        if path.endswith((".h", ".cc")):
            sources += 1
            check_source(path, lines, found)
        if path.endswith((".h", ".cc", ".py", ".sh", ".go")) and len(lines) > LINES_MAX:
            found.append(f"{path}: {len(lines)} lines, more than {LINES_MAX}")
        if path.endswith("CMakeLists.txt"):
            check_links(path, text, found)
    return found, sources


def main():
    found, sources = check(pathlib.Path(__file__).resolve().parents[2])
    for line in found:
        print(line)
    print(f"{sources} sources, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
