"""Amounts of money, in cents: floating point loses them."""


def parse(text):
    """Reads an amount such as 12.50 or -3."""
    sign = -1 if text.startswith("-") else 1
    whole, _, fraction = text.lstrip("+-").partition(".")
    fraction = fraction.ljust(2, "0")
    return sign * int(whole) * 100 + int(fraction)


def show(cents):
    """Writes an amount as parse reads it."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02}"
