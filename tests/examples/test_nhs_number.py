"""The check digit, the checker and the generator of NHS numbers."""

import random
from itertools import islice

import pytest

from sealwire.examples import nhs_number

# Numbers that are printed as examples in public guidance, and their check digits worked out by hand:
# 943 476 591: 9*10+4*9+3*8+4*7+7*6+6*5+5*4+9*3+1*2 = 299 = 27*11 + 2, so 11 - 2 = 9.
# 401 023 213: 4*10+0*9+1*8+0*7+2*6+3*5+2*4+1*3+3*2 = 92 = 8*11 + 4, so 11 - 4 = 7.
VALID = ["9434765919", "4010232137", "943 476 5919", "943-476-5919"]


@pytest.mark.parametrize("number", VALID)
def test_a_published_number_is_valid(number: str) -> None:
    assert nhs_number.is_valid(number)


@pytest.mark.parametrize(
    "number", ["9434765918", "9434756919", "943476591", "94347659190", "", "943476591X", "٩434765919"]
)
def test_a_wrong_digit_a_swap_a_wrong_length_or_another_script_is_invalid(number: str) -> None:
    assert not nhs_number.is_valid(number)


def test_a_sum_divisible_by_eleven_has_the_check_digit_zero() -> None:
    # 9*10 + 9*9 + 9*8 + 5*2 = 253 = 23 * 11
    assert nhs_number.check_digit("999000005") == 0


def test_a_body_whose_digit_would_be_ten_has_no_number() -> None:
    bodies = [f"9990000{ending:02d}" for ending in range(11)]
    without = [body for body in bodies if nhs_number.check_digit(body) is None]
    assert without
    assert not any(nhs_number.is_valid(f"{body}{digit}") for body in without for digit in range(10))


@pytest.mark.parametrize("body", ["", "99900000", "9990000000", "99900000x"])
def test_a_check_digit_needs_nine_digits(body: str) -> None:
    with pytest.raises(ValueError, match="nine digits"):
        nhs_number.check_digit(body)


def test_changing_any_single_digit_is_noticed() -> None:
    number = "9434765919"
    for position, digit in enumerate(number):
        for other in "0123456789".replace(digit, ""):
            assert not nhs_number.is_valid(number[:position] + other + number[position + 1 :])


def test_generated_numbers_are_valid_distinct_and_from_the_test_block() -> None:
    numbers = list(islice(nhs_number.generate(random.Random(7)), 20_000))
    assert len(set(numbers)) == len(numbers) == 20_000
    assert all(nhs_number.is_valid(number) and number.startswith("999") for number in numbers)


def test_the_seed_decides_the_numbers() -> None:
    def first(seed: int) -> list[str]:
        return list(islice(nhs_number.generate(random.Random(seed)), 50))

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_grouping_is_three_three_four() -> None:
    assert nhs_number.grouped("9434765919") == "943 476 5919"
