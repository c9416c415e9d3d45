import unittest

from ledger.book import Book


class Balance(unittest.TestCase):
    def test_income_and_rent(self):
        book = Book()
        book.add("2026-03-01 wages 2400.00")
        book.add("2026-03-02 rent -950.75")
        self.assertEqual(book.balance(), 144925)

    def test_an_empty_book(self):
        self.assertEqual(Book().balance(), 0)
