#!/usr/bin/env python3
"""Each rule of layers.py finds its offence in a small tree, and nothing in a clean one."""
import pathlib
import subprocess
import tempfile
import unittest

import layers


def findings(files):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        subprocess.run(["git", "init", "-q", folder], check=True)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return layers.check(root)[0]


class LayersTest(unittest.TestCase):
    def expect(self, name, text, *parts):
        found = findings({name: text})
        self.assertEqual(len(found), 1, found)
        for part in parts:
            self.assertIn(part, found[0])

    def test_clean_tree(self):
        self.assertEqual(findings({
            "server/raft/raft.cc": '#include "server/raft/raft.h"\n#include <vector>\n#include "base/ids.h"\n',
            "server/node/node.cc": '#include "server/raft/raft.h"\n#include "server/mvcc/types.h"\n#include "server/io/io.h"\n',
            "server/raft/raft_test.cc": "#include <fstream>\n#include <random>\n",
            "server/io/real/loop.cc": "#include <sys/epoll.h>\n#include <thread>\n",
            "server/node/CMakeLists.txt": "fairlead_library(fairlead_node SOURCES node.cc DEPS fairlead_raft fairlead_io)\n",
        }), [])

    def test_layer_above(self):
        self.expect("server/mvcc/a.cc", '#include "server/raft/raft.h"\n', "a.cc:1", "must not use server/raft")
        self.expect("server/io/a.h", '#include "server/net/http.h"\n', "must not use server/net")
        self.expect("operator/plan/a.h", '#include "operator/crd/types.h"\n', "must not use operator/crd")
        self.expect("server/raft/a_test.cc", '#include "server/io/io.h"\n', "must not use server/io")

    def test_link_list(self):
        self.expect("server/mvcc/CMakeLists.txt", "fairlead_library(fairlead_mvcc SOURCES a.cc DEPS fairlead_io)\n", "must not link")
        self.expect("server/api/CMakeLists.txt", "fairlead_library(fairlead_api SOURCES a.cc DEPS fairlead_proto_grpc)\n", "gRPC C++")

    def test_pure_folders(self):
        self.expect("server/raft/a.cc", "#include <chrono>\n", "pure", "<chrono>")
        self.expect("server/mvcc/a.h", "#include <absl/container/flat_hash_map.h>\n", "pure")
        self.expect("operator/plan/a.cc", "int x = std::rand();\n", "pure", "std::rand")
        self.assertEqual(findings({"operator/plan/a.cc": "// std::rand is not used here\n"}), [])

    def test_operating_system(self):
        self.expect("server/node/a.cc", "#include <thread>\n", "only server/io")
        self.expect("server/api/a.cc", "auto now = std::chrono::steady_clock::now();\n", "only server/io")

    def test_include_from_the_root(self):
        self.expect("server/net/a.cc", '#include "http.h"\n', "from the root")

    def test_long_files_and_paths(self):
        self.expect("base/a.cc", "\n" * 901, "901 lines")
        self.expect("README.md", "see /" + "home/me/checkout/README.md\n", "outside the project")


if __name__ == "__main__":
    unittest.main()
