"""A set of fields that says of each what it is, made anew from a seed: personal data, and what resembles it.

Docs/operations/coverage.md gives precision and recall on it. What is personal comes in the forms in which
people write it; what is not was chosen to be mistaken: numbers of ten digits, codes, times, prices, versions.
"""

import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from bson import Int64, ObjectId

from sealwire.sidecars.coverage.likely import Personal

VALUES = 60
"""Of each field."""

_FIRST = ("Ann", "Bob", "Chloé", "Dmitri", "Zoë", "Mary-Jane", "Ali", "Siân")
_LAST = ("Smith", "O'Neill", "de la Cruz", "Nguyễn", "Featherstonehaugh", "Li")
_WORDS = ("ward", "north", "review", "urgent", "blue", "stock", "general", "annual")


def _digits(chance: random.Random, count: int) -> str:
    return "".join(str(chance.randrange(10)) for _ in range(count))


def nhs_number(chance: random.Random, begins: str = "") -> str:
    while True:
        first = begins + _digits(chance, 9 - len(begins))
        check = 11 - sum(int(digit) * (10 - place) for place, digit in enumerate(first)) % 11
        if check != 10:
            return first + str(0 if check == 11 else check)


def card(chance: random.Random) -> str:
    first = "4" + _digits(chance, 14)
    total = 0
    for place, digit in enumerate(reversed(first)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return first + str(-total % 10)


def iban(chance: random.Random) -> str:
    bank = "".join(chance.choice("BCDFGHJKLM") for _ in range(4))
    account = bank + _digits(chance, 14)
    number = "".join(str(ord(letter) - 55) if letter.isalpha() else letter for letter in f"{account}GB00")
    return f"GB{98 - int(number) % 97:02}{account}"


def postcode(chance: random.Random) -> str:
    out = chance.choice(("SW1A", "M1", "B33", "CR2", "DN55", "LS9", "EC1A"))
    return f"{out} {chance.randrange(1, 10)}{chance.choice('ABDEF')}{chance.choice('ABDEF')}"


def insurance(chance: random.Random) -> str:
    return f"{chance.choice('ABCE')}{chance.choice('ABCE')}{_digits(chance, 6)}{chance.choice('ABCD')}"


def spaced(text: str, *places: int) -> str:
    for place in reversed(places):
        text = f"{text[:place]} {text[place:]}"
    return text


def date(chance: random.Random, first: int, last: int) -> datetime:
    return datetime(first, 1, 1) + timedelta(days=chance.randrange((last - first) * 365))


Maker = Callable[[random.Random], Any]

PERSONAL: Mapping[str, tuple[Personal, Maker]] = {
    "nhs": (Personal.NHS_NUMBER, nhs_number),
    "nhs_spaced": (Personal.NHS_NUMBER, lambda c: spaced(nhs_number(c), 3, 6)),
    "nhs_as_number": (Personal.NHS_NUMBER, lambda c: Int64(nhs_number(c, "4"))),
    "identifier.value": (Personal.NHS_NUMBER, nhs_number),
    "email": (Personal.EMAIL, lambda c: f"{c.choice(_FIRST).lower()}{c.randrange(99)}@mail.example.org"),
    "contact": (Personal.EMAIL, lambda c: f"first.last+{c.randrange(99)}@nhs.net"),
    "phone": (Personal.PHONE, lambda c: "07400 " + _digits(c, 6)),
    "mobile": (Personal.PHONE, lambda c: f"+44 7400 {_digits(c, 6)}"),
    "tel_home": (Personal.PHONE, lambda c: f"020 79{_digits(c, 2)} {_digits(c, 4)}"),
    "abroad": (Personal.PHONE, lambda c: f"+49 30 9018{_digits(c, 5)}"),
    "postcode": (Personal.POSTCODE, postcode),
    "zip": (Personal.POSTCODE, lambda c: postcode(c).lower()),
    "ni": (Personal.NATIONAL_INSURANCE, insurance),
    "ni_spaced": (Personal.NATIONAL_INSURANCE, lambda c: spaced(insurance(c), 2, 4, 6, 8)),
    "account": (Personal.IBAN, iban),
    "pan": (Personal.CARD, lambda c: spaced(card(c), 4, 8, 12)),
    "last_login_ip": (Personal.IP_ADDRESS, lambda c: ".".join(str(c.randrange(1, 250)) for _ in range(4))),
    "source": (Personal.IP_ADDRESS, lambda c: f"2001:db8::{c.randrange(1, 9999):x}"),
    "dob": (Personal.BIRTH_DATE, lambda c: date(c, 1930, 2020)),
    "dateOfBirth": (Personal.BIRTH_DATE, lambda c: date(c, 1930, 2020).strftime("%d/%m/%Y")),
    "birth_date": (Personal.BIRTH_DATE, lambda c: date(c, 1930, 2020).strftime("%Y-%m-%d")),
    "first_name": (Personal.NAME, lambda c: c.choice(_FIRST)),
    "surname": (Personal.NAME, lambda c: c.choice(_LAST)),
    "nextOfKin.fullName": (Personal.NAME, lambda c: f"{c.choice(_FIRST)} {c.choice(_LAST)}"),
    "address_line_1": (Personal.ADDRESS, lambda c: f"{c.randrange(1, 200)} High Street"),
    "street": (Personal.ADDRESS, lambda c: f"{c.randrange(1, 200)} {c.choice(_LAST)} Road"),
    "diagnosis": (Personal.HEALTH, lambda c: c.choice(("asthma", "type 2 diabetes", "fracture of wrist"))),
    "allergies": (Personal.HEALTH, lambda c: [c.choice(("penicillin", "latex", "peanut"))]),
    "icd10": (Personal.HEALTH, lambda c: f"{c.choice('ABCDEFGHJ')}{_digits(c, 2)}.{c.randrange(10)}"),
    "hospital_number": (Personal.PERSON_NUMBER, lambda c: f"H{_digits(c, 7)}"),
    "letter": (
        Personal.NHS_NUMBER,
        lambda c: f"Re {c.choice(_WORDS)} stay, NHS No. {spaced(nhs_number(c), 3, 6)}.",
    ),
    "home": (Personal.ADDRESS, lambda c: f"{c.randrange(1, 200)} {c.choice(('High', 'Mill'))} Street, Leeds"),
    # names are known if enough of them are usual
    "notes": (Personal.HEALTH, lambda c: f"seen by {c.choice(_FIRST)}, {c.choice(_WORDS)}"),
    "name": (Personal.NAME, lambda c: f"{c.choice(_FIRST)} {c.choice(_LAST)}"),
}

OTHER: Mapping[str, Maker] = {
    "_id": lambda c: ObjectId(bytes(c.randrange(256) for _ in range(12))),
    "order_number": lambda c: _digits(c, 10),
    "barcode": lambda c: _digits(c, 13),
    "stock_number": lambda c: f"H{_digits(c, 7)}",
    "count": lambda c: c.randrange(1000),
    "epoch": lambda c: Int64(1_700_000_000 + c.randrange(10**8)),
    "epoch_ms": lambda c: Int64(1_700_000_000_000 + c.randrange(10**11)),
    "price": lambda c: round(c.random() * 100, 2),
    "price_text": lambda c: f"{c.randrange(1000)}.{_digits(c, 2)}",
    "version": lambda c: f"{c.randrange(9)}.{c.randrange(20)}.{c.randrange(99)}",
    "sku": lambda c: f"{c.choice(_WORDS)[:3].upper()}-{_digits(c, 5)}",
    "shelf": lambda c: f"{c.choice('ABCDEFGHJ')}{_digits(c, 2)}",
    "log": lambda c: f"order {_digits(c, 10)} of batch {_digits(c, 13)} left on 2025-0{c.randrange(1, 9)}-11",
    "ward": lambda c: c.choice(_WORDS),
    "clinic_name": lambda c: f"{c.choice(_WORDS)} clinic",
    "file_name": lambda c: f"{c.choice(_WORDS)}_{c.randrange(99)}.pdf",
    "url": lambda c: f"https://{c.choice(_WORDS)}.example.org/{c.randrange(99)}",
    "handle": lambda c: f"@{c.choice(_WORDS)}{c.randrange(99)}",
    "created": lambda c: date(c, 2020, 2026),
    "appointment_day": lambda c: date(c, 2025, 2026).strftime("%Y-%m-%d"),
    "time": lambda c: f"{c.randrange(24):02}:{c.randrange(60):02}",
    "uuid": lambda c: f"{_digits(c, 8)}-{_digits(c, 4)}-4{_digits(c, 3)}-8{_digits(c, 3)}-{_digits(c, 12)}",
    "sha256": lambda c: "".join(c.choice("0123456789abcdef") for _ in range(64)),
    "mac": lambda c: ":".join(f"{c.randrange(256):02x}" for _ in range(6)),
    "coordinates": lambda c: [c.random() * 180 - 90, c.random() * 360 - 180],
    "status": lambda c: c.choice(("booked", "seen", "missed")),
    "flag": lambda c: c.random() < 0.5,
    "blood_pressure": lambda c: f"{c.randrange(90, 180)}/{c.randrange(50, 110)}",
    "ods_code": lambda c: f"{c.choice('ABCR')}{_digits(c, 5)}",
    "extension": lambda c: _digits(c, 4),
    "invoice": lambda c: f"INV {_digits(c, 4)} {_digits(c, 6)}",
}


def documents(seed: int) -> list[dict[str, Any]]:
    """VALUES documents that have all fields; now and then one is missing, null, or something else."""
    chance = random.Random(seed)
    found = []
    for _ in range(VALUES):
        document: dict[str, Any] = {}
        for path, make in ({path: made for path, (_, made) in PERSONAL.items()} | dict(OTHER)).items():
            odd = chance.random()
            if odd < 0.05:
                continue
            value = None if odd < 0.1 else "unknown" if odd < 0.13 else make(chance)
            *above, name = path.split(".")
            inside = document
            for part in above:
                inside = inside.setdefault(part, {})
            inside[name] = value
        found.append(document)
    return found
