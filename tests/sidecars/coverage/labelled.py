"""A set of fields that says of each what it is, made anew from a seed: personal data, and what resembles it.

Docs/operations/coverage.md gives precision and recall on it. What is personal comes in the forms in which
people write it; what is not was chosen to be mistaken: numbers of ten digits, codes, times, prices, versions.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

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


def put(document: dict[str, Any], path: str, value: object) -> None:
    *above, name = path.split(".")
    for part in above:
        document = document.setdefault(part, {})
    document[name] = value


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
            put(document, path, value)
        found.append(document)
    return found


# Two labelled sets that the rules were not written on: a hospital in Poland and a Swiss insurer.
#
# Names and values were chosen before the rules were read, and no rule was written for a field that is
# missed here. A row for which somebody writes a rule measures nothing any more: replace it. Every person is
# invented.


Fields = Mapping[str, tuple[object, ...]]
"""The values of each path in five documents, or in fewer."""

HOSPITAL: Final[Fields] = {
    "pesel": ("60031317915", "44090469916", "77011745176", "42021478510", "44040379559"),
    "mrn": ("WAW-0048812", "WAW-0048907", "WAW-0049113", "WAW-0050020", "WAW-0050021"),
    "name": ("Kowalska Anna", "Nowak Piotr", "Wiśniewski Jan", "Wójcik Maria", "Zielińska Ewa"),
    "imie": ("Anna", "Piotr", "Jan", "Maria", "Ewa"),
    "nazwisko": ("Kowalska", "Nowak", "Wiśniewski", "Wójcik", "Zielińska"),
    "familyDoctor": ("lek. Adam Maj", "lek. Iwona Lis", "lek. Adam Maj", "dr Jan Sroka", "lek. Iwona Lis"),
    "data_urodzenia": ("1960-03-13", "1944-09-04", "1977-01-17", "1942-02-14", "1944-04-03"),
    "plec": ("K", "M", "M", "K", "K"),
    "maritalStatus": ("married", "single", "widowed", "divorced", "married"),
    "religion": ("Roman Catholic", "none", "Lutheran", "Orthodox", "Roman Catholic"),
    "ethnicGroup": ("Polish", "Silesian", "Polish", "Romani", "Polish"),
    "nationality": ("PL", "PL", "UA", "PL", "DE"),
    "adres.ulica": (
        "ul. Długa 14 m. 3",
        "al. Jana Pawła II 82",
        "ul. Piękna 5",
        "os. Zgody 7/12",
        "ul. Polna 1a",
    ),
    "adres.kod": ("00-238", "00-175", "00-539", "31-949", "05-500"),
    "adres.miasto": ("Warszawa", "Warszawa", "Warszawa", "Kraków", "Piaseczno"),
    "telefon": ("+48 601 234 567", "+48 22 555 01 12", "602 345 678", "+48 603 456 789", "22 555 03 34"),
    "contact.email": ("a.kowalska@poczta.example", "pnowak@firma.example", "jw@dom.example"),
    "nextOfKin.fullName": (
        "Tomasz Kowalski",
        "Barbara Nowak",
        "Ola Wiśniewska",
        "Jerzy Wójcik",
        "Jan Zieliński",
    ),
    "nextOfKin.tel": ("601222333", "602333444", "603444555", "604555666", "605666777"),
    "encounter.diagnosis.code": ("I10", "E11.9", "F32.1", "C50.4", "K35.8"),
    "encounter.rozpoznanie": ("Nadciśnienie", "Cukrzyca typu 2", "Depresja", "Rak piersi", "Ostre zapalenie"),
    "problems": ("38341003", "44054006", "35489007", "254837009", "74400008"),
    "allergies.substance": ("penicillin", "latex", "peanut", "none known", "ibuprofen"),
    "bloodGroup": ("A Rh+", "0 Rh-", "B Rh+", "AB Rh+", "A Rh-"),
    "hivStatus": ("negative", "negative", "positive", "unknown", "negative"),
    "medication": ("metformin 500 mg", "ramipril 5 mg", "sertralina 50 mg", "tamoxifen 20 mg", "none"),
    "admission_note": (
        "Pacjentka Anna Kowalska, PESEL 60031317915, przyjęta z bólem w klatce.",
        "Pt transferred, PESEL 44090469916, wife on 602 333 444.",
        "PESEL 77011745176. Known depression, lives alone at ul. Piękna 5, 00-539 Warszawa.",
        "Referred by lek. Lis, PESEL 42021478510, for surgery.",
        "PESEL 44040379559; appendicitis, consents by daughter.",
    ),
    "discharge.letter": (
        "Szanowna Pani Anno, please call 601 234 567 or write to a.kowalska@poczta.example.",
        "Copy to pnowak@firma.example, as agreed with Mr Nowak.",
        "Letter sent to jw@dom.example on request of the patient.",
        "Contact of the family: m.wojcik@poczta.example.",
        "Results went to ewa.z@poczta.example.",
    ),
    "insuranceNo": ("NFZ-7-1120034", "NFZ-7-1120035", "NFZ-6-9920411", "NFZ-7-1120377", "NFZ-7-2200001"),
    "photo": (b"\xff\xd8\xff\xe0jfif-1", b"\xff\xd8\xff\xe0jfif-2", b"\xff\xd8\xff\xe0jfif-3"),
}

HOSPITAL_OTHER: Final[Fields] = {
    "ward": ("B2", "B2", "ICU", "A1", "C4"),
    "department.name": ("Cardiology", "Diabetology", "Psychiatry", "Oncology", "Surgery"),
    "bed": (12, 3, 1, 7, 22),
    "encounter.number": (202600112, 202600113, 202600117, 202600201, 202600202),
    "encounter.status": ("finished", "in-progress", "finished", "planned", "finished"),
    "encounter.start": ("2026-01-04T10:11:00Z", "2026-01-05T08:00:00Z", "2026-01-05T09:30:00Z"),
    "created_at": ("2026-01-04", "2026-01-05", "2026-01-05", "2026-01-09", "2026-01-10"),
    "updatedBy": ("svc-import", "svc-import", "svc-hl7", "svc-import", "svc-hl7"),
    "device.serial": ("5901234123457", "5907711890324", "5903349281107", "5900000412289"),
    "device.model": ("MX-700", "MX-750", "MX-700", "IntelliVue", "MX-750"),
    "lab.analyser": ("Cobas 6000", "Sysmex XN", "Cobas 6000", "Cobas 8000", "Sysmex XN"),
    "hl7.messageId": ("MSG00000412", "MSG00000413", "MSG00000414", "MSG00000415", "MSG00000416"),
    "checksum": ("9f86d081884c7d65", "60303ae22b998861", "fd61a03af4f77d87", "a4e624d686e03ed2"),
    "tariff": (1120.5, 230.0, 99.99, 4100.0, 87.2),
    "tariffCode": ("JGP-E10", "JGP-K27", "JGP-E10", "JGP-J03", "JGP-F43"),
    "version": (1, 1, 2, 1, 3),
    "mealPlanWeek": ("soup; pierogi; apple", "rice; fish; pear", "soup; pasta; apple"),
    "notice": (
        "Visiting hours are 14:00 to 18:00 on every ward.",
        "The lift in block B is out of order until Friday.",
        "Hand hygiene audit: 96 of 100 points in week 12.",
        "New pumps, model MX-750, arrive on 2026-02-01.",
        "Parking is free for staff after 17:00.",
    ),
}

INSURER: Final[Fields] = {
    "policyHolder.displayName": ("Urs Meier", "Céline Favre", "Luca Bernasconi", "Beat Gerber", "Ana Kovač"),
    "policyHolder.vorname": ("Urs", "Céline", "Luca", "Beat", "Ana"),
    "policyHolder.nachname": ("Meier", "Favre", "Bernasconi", "Gerber", "Kovač"),
    "policyHolder.ahvNr": ("756.9217.0769.85", "756.1234.5678.97", "756.3047.5009.62", "756.0000.0000.02"),
    "policyHolder.birthDate": ("12.04.1961", "30.11.1988", "02.02.1975", "19.07.1949", "23.08.1993"),
    "policyHolder.address": (
        "Bahnhofstrasse 12, 8001 Zürich",
        "Rue du Rhône 8, 1204 Genève",
        "Via Nassa 3, 6900 Lugano",
        "Kramgasse 41, 3011 Bern",
        "Langstrasse 200, 8005 Zürich",
    ),
    "policyHolder.mobile": ("+41 79 123 45 67", "079 234 56 78", "+41 76 345 67 89", "0041 78 456 78 90"),
    "policyHolder.mail": (
        "urs.meier@post.example",
        "cf@post.example",
        "luca@post.example",
        "bg@post.example",
    ),
    "policyHolder.employer": ("SBB", "Université de Genève", "self-employed", "retired", "Coop"),
    "policyHolder.salary": (96000, 88500, 120000, 0, 54000),
    "policyHolder.denomination": ("reformed", "Catholic", "Catholic", "none", "Orthodox"),
    "policyHolder.civilState": ("married", "single", "married", "widowed", "single"),
    "payout.iban": ("CH9300762011623852957", "CH5604835012345678009", "CH3908704016075473007"),
    "payout.accountHolder": ("Meier Urs", "Favre Céline", "Bernasconi Luca", "Gerber Beat", "Kovač Ana"),
    "payment.card": ("4111111111111111", "5500005555555559", "4012888888881881", "4222222222222220"),
    "claimant": ("Regula Meier", "Céline Favre", "Marco Bernasconi", "Beat Gerber", "Ana Kovač"),
    "claim.description": (
        "Policy holder Urs Meier, AHV 756.9217.0769.85, slipped on ice.",
        "AHV 756.1234.5678.97 - whiplash after a collision in Genève.",
        "Burglary at Via Nassa 3, 6900 Lugano; AHV 756.3047.5009.62.",
        "Hip replacement, AHV 756.9217.0769.85, pre-approved.",
        "Please pay AHV 756.1234.5678.97 for the ambulance.",
    ),
    "claim.medical.icd10": ("S52.5", "S13.4", "M16.1", "F43.2", "Z96.6"),
    "claim.medical.disability_degree": (20, 0, 35, 50, 10),
    "claim.medical.sickLeaveReason": ("fracture", "whiplash", "hip surgery", "burnout", "pregnancy"),
    "claim.witness.phone": ("044 555 12 12", "022 555 34 34", "091 555 56 56"),
    "claim.plate": ("ZH 123456", "GE 98765", "TI 44321", "BE 777000", "ZH 400123"),
    "claim.gps": ("47.3769,8.5417", "46.2044,6.1432", "46.0037,8.9511", "46.9480,7.4474"),
    "correspondence.body": (
        "Grüezi Herr Meier, bitte zahlen Sie auf CH93 0076 2011 6238 5295 7.",
        "Votre remboursement sur CH56 0483 5012 3456 7800 9 est en route.",
        "Gentile signor Bernasconi, IBAN CH39 0870 4016 0754 7300 7 registrato.",
        "Ihre Zahlung an CH93 0076 2011 6238 5295 7 ist eingegangen.",
        "Le virement vers CH56 0483 5012 3456 7800 9 a échoué.",
    ),
    "portal.lastIp": ("203.0.113.7", "198.51.100.20", "203.0.113.99", "2001:db8::77", "192.0.2.4"),
    "portal.username": ("umeier61", "celine.favre", "lucab", "bgerber", "anak93"),
    "passportNo": ("X1234567", "X7654321", "X2468135", "S0012345", "X1357924"),
    "beneficiaries.relationship": ("spouse", "son", "partner", "daughter", "mother"),
    "politicallyExposed": (False, False, True, False, False),
    "unionMember": (True, False, False, True, False),
    "smoker": (True, False, False, False, True),
}

INSURER_OTHER: Final[Fields] = {
    "product": ("Household Plus", "Motor Basic", "Household Plus", "Life 3a", "Motor Top"),
    "productName": ("Household Plus 2026", "Motor Basic 2026", "Household Plus 2026", "Life 3a", "Motor Top"),
    "policyNumber": ("P-2026-000412", "P-2026-000413", "P-2026-000414", "P-2026-000415"),
    "premium": (412.5, 890.0, 415.0, 1200.0, 1310.4),
    "currency": ("CHF", "CHF", "CHF", "CHF", "EUR"),
    "validFrom": ("01.01.2026", "01.03.2026", "01.01.2026", "01.07.2026", "01.02.2026"),
    "claim.status": ("open", "closed", "open", "in review", "rejected"),
    "claim.amount": (1200, 9500, 310, 22000, 18000),
    "claim.receivedAt": ("2026-02-01T08:00:00Z", "2026-02-03T10:40:00Z", "2026-02-04T12:12:12Z"),
    "claim.reference": ("2026020100", "2026020301", "2026020402", "2026021000", "2026021100"),
    "vehicle.make": ("Skoda", "VW", "Fiat", "Toyota", "Renault"),
    "vehicle.engine": ("1.5 TSI", "2.0 TDI", "1.2", "1.8 Hybrid", "E-Tech"),
    "broker.company": ("Assura Broker AG", "Swiss Cover GmbH", "Assura Broker AG", "Lemania SA"),
    "tariffZone": ("CH-4", "CH-1", "CH-4", "CH-2", "CH-1"),
    "template": ("letter_claim_v3", "letter_dunning_v1", "letter_claim_v3", "letter_welcome_v2"),
    "documentHash": ("b94d27b9934d3e08a52e52d7", "2c26b46b68ffc68ff99b453c", "fcde2b2edba56bf408601fb7"),
    "batchId": ("9a1f0c52-7b1e-4a39-8d8e-0f4bb1c7a001", "9a1f0c52-7b1e-4a39-8d8e-0f4bb1c7a002"),
    "retries": (0, 1, 0, 0, 2),
    "language": ("de", "fr", "it", "de", "en"),
    "terms": (
        "General terms of 2026-01-01, chapter 4: exclusions.",
        "General terms of 2026-01-01, chapter 5: deductible of 500.",
        "Special terms M16 for motor policies.",
        "General terms of 2025-01-01, chapter 4: exclusions.",
    ),
    "workflow.step": ("intake", "payment", "intake", "expert", "closing"),
}


def documents_of_fields(fields: Fields) -> Iterator[dict[str, Any]]:
    """The documents of a set, as a collection has them."""
    for number in range(max(map(len, fields.values()))):
        document: dict[str, Any] = {}
        for path, values in fields.items():
            if number < len(values):
                put(document, path, values[number])
        yield document
