"""rules.py finds what it should."""
import unittest

from rules import HEADING, findings


def page(*cells):
    return HEADING + "\n\n| area | rule | test |\n|---|---|---|\n" + "\n".join(f"| a | r{i} | {c} |" for i, c in enumerate(cells))


class Rules(unittest.TestCase):
    def test_finds(self):
        rows, found = findings(page("nothing", "`none/x.sh`", "K `Lost`, `Kept`", "`Kept*`; E `TestTheirs*`"),
                               lambda name: False, "TEST(K, KeptForEver)")
        self.assertEqual(4, rows)
        self.assertEqual(["r0: no test", "r1: there is no none/x.sh", "r2: there is no test 'Lost'"], found)

    def test_is_content(self):
        self.assertEqual((2, []), findings(page("G", "[flags](flags.md)"), lambda name: True, ""))
        self.assertEqual(1, len(findings("", None, "")[1]))


if __name__ == "__main__":
    unittest.main()
