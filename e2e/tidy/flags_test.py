"""flags.py finds what it should."""
import unittest

from flags import findings

FILES = {"a_test.sh": 'check "works well" x'}


def page(*rows):
    return "\n".join(f"| `--{name}` | `d\\|e` | {state} | text | {test} |" for name, state, test in rows)


class Flags(unittest.TestCase):
    def test_finds(self):
        _, found = findings(page(("a", "works", ""), ("b", "works", "none.sh: x"), ("c", "works", "a_test.sh: other"),
                                 ("d", "works", "e2e/conformance: nothing")), FILES.get)
        self.assertEqual(["--a: no test", "--b: there is no none.sh", "--c: a_test.sh has no test 'other'",
                          "--d: nothing is no name of a test"], found)

    def test_is_content(self):
        rows, found = findings(page(("a", "works", "a_test.sh: works well"), ("b", "works", "e2e/conformance: TestX")), FILES.get)
        self.assertEqual((2, []), (rows, found))

    def test_counts(self):
        many = [(f"f{i}", "not needed", "a_test.sh: works") for i in range(16)]
        self.assertIn("16 flags are not needed here, and at most 15 may be", findings(page(*many), FILES.get)[1])
        self.assertEqual(["the page has no rows"], findings("", FILES.get)[1])


if __name__ == "__main__":
    unittest.main()
