"""A book of entries, and what they come to."""

from ledger.money import parse, show


class Book:
    def __init__(self):
        self.entries = []

    def add(self, line):
        """Takes a line such as '2026-03-01 rent -950.00'."""
        date, what, amount = line.split()
        self.entries.append((date, what, parse(amount)))

    def balance(self):
        return sum(cents for _, _, cents in self.entries)

    def report(self):
        lines = [f"{date} {what:<12} {show(cents):>10}" for date, what, cents in self.entries]
        return "\n".join([*lines, f"{'':10} {'balance':<12} {show(self.balance()):>10}"])
