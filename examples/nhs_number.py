"""NHS numbers: the mod-11 check digit, a checker, and a seedable generator.

Source: NHS Data Model and Dictionary, "NHS Number": ten digits, the tenth is a check digit over the first
nine with the weights 10 down to 2. Numbers that start with 999 are kept for tests; nobody is given one.
"""

import random
from collections.abc import Iterator

DIGITS = 10
TEST_PREFIX = "999"
_WEIGHTS = range(10, 1, -1)
_BODIES = 10 ** (DIGITS - 1 - len(TEST_PREFIX))


def check_digit(first_nine: str) -> int | None:
    """The tenth digit for nine given ones, or None where no valid number starts with them.

    Shape:   exactly nine ASCII digits
    Raises:  ValueError for anything else
    """
    if len(first_nine) != DIGITS - 1 or not _is_digits(first_nine):
        raise ValueError("an NHS number has nine digits before its check digit")
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, first_nine, strict=True))
    digit = -total % 11
    return None if digit == 10 else digit


def is_valid(number: str) -> bool:
    """Whether `number` is ten digits with the right check digit; spaces and hyphens may stand between."""
    compact = number.replace(" ", "").replace("-", "")
    if len(compact) != DIGITS or not _is_digits(compact):
        return False
    return check_digit(compact[:-1]) == int(compact[-1])


def grouped(number: str) -> str:
    """The number as it is printed on letters: 3-3-4 digits with spaces."""
    return f"{number[:3]} {number[3:6]} {number[6:]}"


def generate(generator: random.Random) -> Iterator[str]:
    """Valid test numbers in random order, none twice; the same seed gives the same numbers.

    Cost:    909,091 numbers exist in the test block; the iterator ends after the last one
    """
    # A step that ends in 1, 3, 7 or 9 is coprime to 10^6: the walk meets each body once before it closes.
    step = 10 * generator.randrange(10_000, 90_000) + generator.choice([1, 3, 7, 9])
    body = generator.randrange(_BODIES)
    for _ in range(_BODIES):
        first_nine = f"{TEST_PREFIX}{body:06d}"
        digit = check_digit(first_nine)
        if digit is not None:
            yield f"{first_nine}{digit}"
        body = (body + step) % _BODIES


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
