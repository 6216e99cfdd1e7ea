"""What a value looks like: an identifier with a check digit, a phone number, a name by its field's name.

Check digits and phone numbers are judged by python-stdnum and phonenumbers, which are an extra. One value
proves little: a number of ten digits in eleven passes for an NHS number. `fields` judges by all of a path.
Sources: NHS Data Dictionary (NHS number); GOV.UK bulk data transfer specification (postcode); HMRC NIM39110
(National Insurance number).
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from functools import cache
from importlib import import_module
from ipaddress import ip_address
from typing import Any, Final

from sealwire.policies.roles.screening import EMAIL, NATIONAL_INSURANCE, POSTCODE
from sealwire.sidecars.coverage.errors import CoverageReason, LibraryMissing

MAX_TEXT: Final = 256
"""Characters of a value that are looked at; an identifier is shorter."""


class Personal(Enum):
    """What a field may hold, in the order in which it is judged: the first that fits well enough counts."""

    EMAIL = "e-mail address"
    NHS_NUMBER = "NHS number"
    NATIONAL_INSURANCE = "National Insurance number"
    IBAN = "bank account (IBAN)"
    CARD = "payment card number"
    PHONE = "phone number"
    POSTCODE = "postcode"
    IP_ADDRESS = "IP address"
    BIRTH_DATE = "date of birth"
    NAME = "name of a person"
    ADDRESS = "address"
    HEALTH = "health data"


_PHONE: Final = re.compile(r"[+(]?[0-9][0-9 ().-]{8,18}[0-9]")
_DIGITS: Final = re.compile(r"[0-9][0-9 -]{8,30}[0-9]")
_DATE: Final = re.compile(
    r"(?:18|19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]|[0-3]?[0-9][./-][01]?[0-9][./-](?:18|19|20)[0-9]{2}"
)
_WORDS: Final = re.compile(r"[^\W\d_][^\d_@/\\:;<>]*")

_NAMES: Final[Mapping[Personal, re.Pattern[str]]] = {
    Personal.BIRTH_DATE: re.compile(r"dob|birth|born"),
    Personal.NAME: re.compile(
        r"(?:first|last|fore|sur|family|given|maiden|middle|full|patient|person|kin|carer|gp)name"
    ),
    Personal.ADDRESS: re.compile(r"address(?:line)?|street|postaltown|hometown"),
    Personal.HEALTH: re.compile(
        r"diagnos|allerg|medication|prescription|symptom|clinicalnote|comorbid|bloodgroup|hivstatus"
    ),
}
"""What a field's name has to have, in small letters and without signs between its words."""


def looks_of(value: object, name: str) -> list[Personal]:
    """All that a value in the field `name` may be. Raises LibraryMissing. Cost: 5 to 60 us."""
    words = re.sub(r"[^a-z]", "", name.lower())
    found = [kind for kind, pattern in _NAMES.items() if pattern.search(words) and _fits(kind, value)]
    if isinstance(value, bool):
        return []
    if isinstance(value, int):
        text = str(value)
    elif isinstance(value, str) and len(value) <= MAX_TEXT:
        text = value.strip()
    else:
        return found
    return [kind for kind, looks in _VALUES.items() if looks(text)] + found


def _fits(kind: Personal, value: object) -> bool:
    """Whether a value can be what its field's name says."""
    if kind is Personal.BIRTH_DATE:
        return isinstance(value, datetime) or (isinstance(value, str) and bool(_DATE.match(value.strip())))
    if kind is Personal.NAME:
        return isinstance(value, str) and len(value) <= MAX_TEXT and bool(_WORDS.fullmatch(value.strip()))
    return isinstance(value, str) and any(map(str.isalpha, value))


def _is_nhs_number(text: str) -> bool:
    return bool(_DIGITS.fullmatch(text)) and bool(_library("stdnum.gb.nhs").is_valid(text))


def _is_card(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    if not _DIGITS.fullmatch(text) or not 13 <= len(digits) <= 19:
        return False
    return bool(_library("stdnum.luhn").is_valid(digits))


def _is_iban(text: str) -> bool:
    return text[:2].isalpha() and len(text) >= 15 and bool(_library("stdnum.iban").is_valid(text))


def _is_phone(text: str) -> bool:
    """A number with a country's code, or one of Britain with its leading zero."""
    if not _PHONE.fullmatch(text) or text[0] not in "+(0":
        return False
    phonenumbers = _library("phonenumbers")
    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(text, "GB")))
    except phonenumbers.NumberParseException:
        return False


def _is_ip_address(text: str) -> bool:
    if "." not in text and ":" not in text:
        return False
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


_VALUES: Final[Mapping[Personal, Callable[[str], bool]]] = {
    Personal.EMAIL: lambda text: bool(EMAIL.fullmatch(text)),
    Personal.NHS_NUMBER: _is_nhs_number,
    Personal.NATIONAL_INSURANCE: lambda text: bool(NATIONAL_INSURANCE.fullmatch(text)),
    Personal.IBAN: _is_iban,
    Personal.CARD: _is_card,
    Personal.PHONE: _is_phone,
    Personal.POSTCODE: lambda text: bool(POSTCODE.fullmatch(text)),
    Personal.IP_ADDRESS: _is_ip_address,
}


@cache
def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise LibraryMissing(
            CoverageReason.EXTRA, f"{error.name} is not installed", "pip install 'sealwire[coverage]'"
        ) from None


def require_libraries() -> None:
    """Raises LibraryMissing without the extra: better before a long read than in it."""
    for name in ("stdnum.gb.nhs", "stdnum.luhn", "stdnum.iban", "phonenumbers"):
        _library(name)
