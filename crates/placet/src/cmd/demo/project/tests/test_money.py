import unittest

from ledger.money import parse, show


class Money(unittest.TestCase):
    def test_whole_amounts(self):
        self.assertEqual(parse("12"), 1200)

    def test_fractions(self):
        self.assertEqual(parse("12.5"), 1250)

    def test_what_is_owed(self):
        self.assertEqual(parse("-3.25"), -325)

    def test_what_is_shown_reads_back(self):
        for cents in (0, 5, 199, 12345):
            self.assertEqual(parse(show(cents)), cents)
