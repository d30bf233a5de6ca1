"""What blocks.py must find: a command that fails, a line that is missing, an order that is wrong, a mark without a block."""
import unittest

import blocks

MARK = "<!-- tested -->\n"


class Blocks(unittest.TestCase):
    def test_only_marked_blocks(self):
        text = "```sh\nexit 1\n```\n" + MARK + "```sh\ntrue\n```\n\n```text\nfine\n```\n"
        self.assertEqual(blocks.blocks_of(text), [("true\n", ["fine"])])

    def test_a_mark_without_a_block(self):
        with self.assertRaises(ValueError):
            blocks.blocks_of(MARK + "words\n```sh\ntrue\n```\n")

    def test_lines_in_order(self):
        self.assertIsNone(blocks.missing_line(["a", "b"], "x\na\ny\nb\n"))
        self.assertEqual(blocks.missing_line(["a", "b"], "b\na\n"), "b")

    def test_a_good_block(self):
        self.assertIsNone(blocks.check("echo hello >/tmp/word\ncat /tmp/word\n", ["hello"]))

    def test_a_failing_command_in_the_middle(self):
        self.assertIn("exit code 1", blocks.check("false\necho fine\n", ["fine"]))

    def test_a_missing_line(self):
        self.assertIn("'bye'", blocks.check("echo hello\n", ["bye"]))

    def test_a_process_left_in_the_background_is_ended(self):
        self.assertIsNone(blocks.check("sleep 1000 &\necho fine\n", ["fine"]))


if __name__ == "__main__":
    unittest.main()
