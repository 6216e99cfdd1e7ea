"""What a value looks like, and what a text contains: identifiers, names, health data.

Check digits and phone numbers are judged by python-stdnum and phonenumbers, which are an extra (ADR 52). One
value proves little: a number of ten digits in eleven passes for an NHS number. `fields` judges by all values
of a path. Names of fields are read in English, Dutch, French, German, Italian, Polish and Spanish.
Sources: NHS Data Dictionary (NHS number); GOV.UK bulk data transfer specification (postcode); HMRC NIM39110
(National Insurance number); SNOMED International release file specifications (concept identifiers).
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import Enum
from functools import cache, lru_cache
from importlib import import_module
from itertools import islice
from typing import Any, Final

from sealwire import from_lock
from sealwire.crypto.host_names import as_address
from sealwire.policies.roles.screening import EMAIL, NATIONAL_INSURANCE, POSTCODE
from sealwire.sidecars.errors import CoverageReason, Unavailable

MAX_TEXT: Final = 256
"""Characters of a value that can be an identifier; longer ones are texts."""
MAX_SEARCHED: Final = 4096
"""Characters of a text that are searched."""
_LEAST_TEXT: Final = 12
_LONGEST_NUMBER: Final = 34


class Personal(Enum):
    """What a field may hold, in the order in which it is judged: the first that fits well enough counts."""

    EMAIL = "e-mail address"
    NHS_NUMBER = "NHS number"
    NATIONAL_INSURANCE = "National Insurance number"
    NATIONAL_NUMBER = "national number of a person"
    IBAN = "bank account (IBAN)"
    CARD = "payment card number"
    PHONE = "phone number"
    POSTCODE = "postcode"
    IP_ADDRESS = "IP address"
    BIRTH_DATE = "date of birth"
    SPECIAL = "special category (Article 9)"
    HEALTH = "health data"
    PERSON_NUMBER = "number of a person or document"
    NAME = "name of a person"
    ADDRESS = "address"
    TRAIT = "characteristic of a person"


_PHONE: Final = re.compile(r"[+(]?[0-9][0-9 ().-]{8,18}[0-9]")
_DIGITS: Final = re.compile(r"[0-9][0-9 -]{8,30}[0-9]")
_DATE: Final = re.compile(
    r"(?:18|19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]|[0-3]?[0-9][./-][01]?[0-9][./-](?:18|19|20)[0-9]{2}"
)
_WORDS: Final = re.compile(r"[^\W\d_][^\d_@/\\:;<>]*")

_NAMES: Final[Mapping[Personal, re.Pattern[str]]] = {
    Personal.BIRTH_DATE: re.compile(
        r"_dob_|birth|born|geburts|naissance|nacimiento|nascita|geboorte|urodz",
    ),
    Personal.SPECIAL: re.compile(
        r"relig|denomination|_faith|confession|konfession|wyznani|ethni|etni|_race_|racial|political|politi[qs]"
        r"|trade_?union|union_?member|gewerkschaft|syndicat_|sindicat|philosophical|belief|sexual|sex_?life"
        r"|biometri|_geneti[ck]|_genom|criminal_?(?:record|conviction|offence)"
    ),
    Personal.HEALTH: re.compile(
        r"diagnos(?!tics_)|all?erg|medicati|medicament|prescri|symptom|clinical_?note|comorbid|blood_?(?:group|type)|_hiv"
        r"|_icd_?(?:9|10|11)?_|snomed|disease|illness|vaccin|immuni[sz]|disabilit|pregnan|sick_?leave|sickness"
        r"|mental_?health|therap|treatment|smoker|smoking|alcohol|chronic|surger|lab_?results?_"
        r"|medical_?(?:history|condition|note|problem|record_?text)|_problem_?list|_problems_"
        r"|krankheit|befund|maladi|malatti|enfermedad|ziekte|chorob|rozpozn|schwanger|grossesse"
    ),
    Personal.PERSON_NUMBER: re.compile(
        r"_mrn_|_ssn_|_nino_|_pesel_|_bsn_|_ahv|_avs_|_nir_|_dni_|_nie_|_curp_|_cpf_|_codice_?fiscale|_steuer_?id"
        r"|passport|passeport|pasaporte|reisepass|paszport|driv(?:er|ing)s?_?licen[cs]e"
        r"|(?:patient|hospital|medical_?record|health|member|insur(?:ance|ed)|beneficiary|social_?security|national"
        r"|identity|citizen|personal|chart)_?(?:card_?)?(?:nos?|nr|nums?|numbers?|ids?|identifiers?)_"
    ),
    Personal.NAME: re.compile(
        r"(?:first|last|fore|sur|family|given|maiden|middle|full|patient|person|kin|carer|gp|insured|holder|member"
        r"|employee|applicant|doctor|spouse|mother|father|child)_?names?_"
        r"|vorname|nachname|familienname|prenom|_nom_|_nombres?_|apellido|cognome|voornaam|achternaam|_imie_|nazwisko"
    ),
    Personal.ADDRESS: re.compile(
        r"(?<!ip_)(?<!mac_)(?<!web_)(?<!_url_)address|adress|adres_|indirizzo|direccion"
        r"|street|strasse|_rue_|_calle_|_straat|_ulica_|postal_?town|home_?town"
        r"|post_?code|^_zip_|zip_?code|_plz_|code_?postal|kod_?pocztowy"
    ),
    Personal.PHONE: re.compile(r"phone|_tel_|telefon|telefoon|mobile_|_mobil_|_cell_|_fax_|_handy_"),
    Personal.TRAIT: re.compile(
        r"marital|civil_?stat|familienstand|nationalit|citizenship"
        r"|_occupation_|employer|_salary_|_income_"
    ),
}
"""What a field's name has to have, in small letters without accents, with `_` around each of its words."""
_GENERAL: Final = re.compile(
    r"_(?:codes?|values?|text|display|description|names?|nos?|nr|num|number|id|substance|lines?\d?)_"
)
"""Names that say nothing without the name above them."""
_ADDRESS_ABOVE: Final = re.compile(r"(?:address(?:es)?|adresse[ns]?|adres|indirizz[io]|direccion(?:es)?)_$")
_NO_ADDRESS: Final = re.compile(r"_(?:type|use|kind|version|period|start|end|created|updated)_")
_FORMS: Final[Mapping[Personal, re.Pattern[str]]] = {
    Personal.BIRTH_DATE: _DATE,
    Personal.NAME: re.compile(rf"{_WORDS.pattern}$"),
    Personal.PHONE: re.compile(r"[+(]?[0-9][0-9 ()./-]{5,18}[0-9]$"),
    Personal.PERSON_NUMBER: re.compile(r"(?=.*[0-9])[A-Za-z0-9][A-Za-z0-9 ./-]{2,18}[A-Za-z0-9]$"),
    Personal.ADDRESS: re.compile(
        r"(?=.*\w)(?!(?:home|work|billing|postal|true|false)$|.*[:@]|[0-9]+(?:\.[0-9]+){2})", re.IGNORECASE
    ),
}
"""What begins a value of a field with such a name; of other kinds a letter is enough."""
_GIVEN: Final = frozenset(
    """
    adam adrian agnieszka ahmed aisha alan alessandro alessia alex alexander alexandra alexandre ali alice
    alicia amelia amina amy ana anders andrea andreas andrei andrew andrzej angela ann anna anne annie
    anthony antonio arthur barbara beata ben benjamin bernd bob brian camille carlos carmen carol caroline
    catherine charles charlotte chiara chloe chris christian christina christine christopher claire
    claudia daan daniel daniela david deborah dieter dmitri dorota edward elena elisabeth elizabeth ella
    emil emily emma eric erik ethan eva ewa fatima fatma felix fernando filip fiona francesca francesco
    francois frank gabriel george georgia giovanni giulia giuseppe grzegorz hanna hannah hans harry hassan
    heather heinz helen helena henry ian ibrahim ingrid irina isabel isabella isabelle ivan jack jacob
    jacques james jan jane janet jason javier jean jennifer jerzy jessica joao joe johan johannes john
    jonathan jorge jose joseph joshua juan julia julie jurgen kamil karen karin katarzyna kate katherine
    kathleen kevin klaus krzysztof lars laura lena leon leonie lewis liam lisa lotte louis louise luca
    lucia lucy luis lukas magdalena manuel marc marcin marco marek margaret maria marie mario mark marta
    martin martina mary mateusz matteo matthew max mehmet mia michael michal michel michelle miguel
    mikhail mohamed mohammad mohammed monika muhammad mustafa nadia natalia nathalie nicola nicolas nicole
    nina noah nora olga olivia omar pablo patricia patrick paul paula pauline pawel pedro peter petra
    philip philippe pierre piotr priya rachel rajesh rebecca richard robert roberto rosa ruth ryan samuel
    sandra sara sarah sean sebastian sergei sharon sian silvia simon sofia sophia sophie stefan stefano
    stephanie stephen steven susan susanne tanja thomas tim tomas tomasz ursula valentina victor vincent
    wei werner william wojciech wolfgang yusuf zoe zofia
    """.split()  # noqa: SIM905 - as a list it has 300 lines
)
"""Given names that are usual in Europe, its minorities included; none is also a month or a town."""


def _in_words(name: str) -> str:
    """The words of a field's name: `_date_of_birth_` of `dateOfBirth`."""
    plain = _plain(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name))
    return f"_{re.sub(r'[^a-z0-9]+', '_', plain).strip('_')}_"


def _plain(text: str) -> str:
    """A text in small letters without accents."""
    spelled = text.lower().translate({ord("ß"): "ss", ord("ł"): "l", ord("ø"): "o"})
    return unicodedata.normalize("NFKD", spelled).encode("ascii", "ignore").decode()


@lru_cache(maxsize=1024)
def _kinds_of(path: str) -> tuple[Personal, ...]:
    """What the last name of a path says, and the one above it if the last says nothing."""
    above, _, last = path.rpartition(".")
    words = _in_words(last)
    above_words = _in_words(above.rpartition(".")[2])
    if _GENERAL.fullmatch(words):
        words = f"{above_words[:-1]}{words}"
    found = [kind for kind, pattern in _NAMES.items() if pattern.search(words)]
    is_part = _ADDRESS_ABOVE.search(above_words) and not _NO_ADDRESS.search(words)
    if is_part and Personal.ADDRESS not in found:
        found.append(Personal.ADDRESS)
    return tuple(found)


def looks_of(value: object, path: str) -> list[Personal]:
    """All that a value at `path` may be, as a whole. Raises Unavailable. Cost: 5 to 100 us."""
    found = [kind for kind in _kinds_of(path) if _fits(kind, value)]
    if isinstance(value, bool):
        return found
    if isinstance(value, int):
        text = str(value)
    elif isinstance(value, str) and len(value) <= MAX_TEXT:
        text = value.strip()
    else:
        return found
    return [kind for kind, looks in _VALUES.items() if kind not in found and looks(text)] + found


def _fits(kind: Personal, value: object) -> bool:
    """Whether a value can be what its field's name says."""
    if kind is Personal.BIRTH_DATE and isinstance(value, datetime):
        return True
    if kind in {Personal.SPECIAL, Personal.HEALTH} and isinstance(value, bool):
        return True
    if not isinstance(value, str):
        return False
    form = _FORMS.get(kind)
    if form is None:
        return any(map(str.isalpha, value[:MAX_TEXT]))
    return len(value) <= MAX_TEXT and bool(form.match(value.strip()))


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


_NATIONAL: Final[Mapping[str, re.Pattern[str]]] = {
    "stdnum.be.nn": re.compile(r"[0-9]{11}"),
    "stdnum.bg.egn": re.compile(r"[0-9]{10}"),
    "stdnum.br.cpf": re.compile(r"[0-9]{11}"),
    "stdnum.ch.ssn": re.compile(r"756[0-9]{10}"),
    "stdnum.de.idnr": re.compile(r"[0-9]{11}"),
    "stdnum.ee.ik": re.compile(r"[0-9]{11}"),
    "stdnum.es.dni": re.compile(r"[0-9]{8}[A-Z]"),
    "stdnum.es.nie": re.compile(r"[XYZ][0-9]{7}[A-Z]"),
    "stdnum.fr.nir": re.compile(r"[12][0-9]{4}[0-9AB]{2}[0-9]{8}"),
    "stdnum.gr.amka": re.compile(r"[0-9]{11}"),
    "stdnum.ie.pps": re.compile(r"[0-9]{7}[A-W][ABHW]?"),
    "stdnum.it.codicefiscale": re.compile(r"[A-Z]{6}[0-9A-Z]{10}"),
    "stdnum.no.fodselsnummer": re.compile(r"[0-9]{11}"),
    "stdnum.pl.pesel": re.compile(r"[0-9]{11}"),
    "stdnum.ro.cnp": re.compile(r"[1-9][0-9]{12}"),
    "stdnum.se.personnummer": re.compile(r"(?:19|20)?[0-9]{10}"),
    "stdnum.si.emso": re.compile(r"[0-9]{13}"),
    "stdnum.tr.tckimlik": re.compile(r"[1-9][0-9]{10}"),
    "stdnum.za.idnr": re.compile(r"[0-9]{13}"),
}
"""Modules of python-stdnum that chance rarely passes, and the form that each needs: a date, two check digits,
letters or a prefix. Each accepts less than one random number of digits in fifty.

Numbers with one check digit and no date (BSN, SIN, Aadhaar) are known by their field's name only.
"""
_LONGEST_NATIONAL: Final = 16
_ICD_10: Final = re.compile(r"[A-Z][0-9][0-9AB]\.[0-9A-Z]{1,4}")
_STREET: Final = re.compile(
    r"\b[0-9]{1,4}[A-Za-z]?,? (?:[A-Z][\w'-]+ ){1,3}"
    r"(?:Street|St|Road|Rd|Lane|Avenue|Ave|Close|Drive|Crescent|Terrace|Gardens|Grove|Way|Place|Square|Court|Mews)\b"
    r"|\b\w{3,}(?:stra(?:ss|ß)e|str\.|gasse|weg|platz|straat|laan|gracht|plein) [0-9]{1,4}\b"
    r"|\b(?:[Rr]ue|[Aa]venue|[Bb]oulevard|[Vv]ia|[Vv]iale|[Pp]iazza|[Cc]alle|[Pp]laza|[Uu]l\.|[Aa]l\.)"
    r"(?: [\w'.-]+){1,4},? [0-9]{1,4}\b"
)


def _is_national(text: str) -> bool:
    compact = _compact(text)
    return any(_library(name).is_valid(compact) for name in _national_forms(compact))


def _compact(text: str) -> str:
    return re.sub(r"[ ./-]", "", text).upper()


def _national_forms(compact: str) -> list[str]:
    """The modules that may accept a number, by its length and letters."""
    if not 8 <= len(compact) <= _LONGEST_NATIONAL:
        return []
    return [name for name, form in _NATIONAL.items() if form.fullmatch(compact)]


def _is_health_code(text: str) -> bool:
    """A code of ICD-10 with its dot, or a concept of SNOMED CT: its partition and its check digit."""
    if _ICD_10.fullmatch(text):
        return True
    if not (text.isascii() and text.isdigit() and 6 <= len(text) <= 18 and text[-3:-1] in {"00", "10"}):
        return False
    return text[0] != "0" and bool(_library("stdnum.verhoeff").is_valid(text))


def _is_person(text: str) -> bool:
    """Up to five words that begin with a capital, and a usual given name among them."""
    if len(text) > _LONGEST_NAME or not _WORDS.fullmatch(text):
        return False
    words = text.replace(",", " ").split()
    if len(words) > _MOST_NAME_WORDS or not all(word[0].isupper() for word in words):
        return False
    return any(_plain(part) in _GIVEN for word in words for part in word.split("-"))


def _is_ip_address(text: str) -> bool:
    return ("." in text or ":" in text) and as_address(text) is not None


_VALUES: Final[Mapping[Personal, Callable[[str], bool]]] = {
    Personal.EMAIL: lambda text: bool(EMAIL.fullmatch(text)),
    Personal.NHS_NUMBER: _is_nhs_number,
    Personal.NATIONAL_INSURANCE: lambda text: bool(NATIONAL_INSURANCE.fullmatch(text)),
    Personal.IBAN: _is_iban,
    Personal.CARD: _is_card,
    Personal.PHONE: _is_phone,
    Personal.POSTCODE: lambda text: bool(POSTCODE.fullmatch(text)),
    Personal.NATIONAL_NUMBER: _is_national,
    Personal.IP_ADDRESS: _is_ip_address,
    Personal.HEALTH: _is_health_code,
    Personal.NAME: _is_person,
}


_LONGEST_NAME: Final = 60
_MOST_NAME_WORDS: Final = 5
# a number that goes on before or after is another number
_BEFORE, _AFTER = r"(?<![\w.+/-])", r"(?![\w/-]|[.,][0-9])"
_IN_TEXTS: Final[Mapping[Personal, re.Pattern[str]]] = {
    Personal.EMAIL: re.compile(
        r"(?<![\w.+%-])[\w.+%'-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,6}\.[A-Za-z]{2,}"
    ),
    Personal.NHS_NUMBER: re.compile(rf"{_BEFORE}[0-9]{{3}}([ -]?)[0-9]{{3}}\1[0-9]{{4}}{_AFTER}"),
    Personal.NATIONAL_INSURANCE: re.compile(rf"{_BEFORE}{NATIONAL_INSURANCE.pattern}{_AFTER}"),
    Personal.IBAN: re.compile(
        rf"{_BEFORE}[A-Z]{{2}}[0-9]{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?{_AFTER}"
    ),
    Personal.CARD: re.compile(rf"{_BEFORE}[3-6][0-9]{{3}}(?:[ -]?[0-9]){{9,15}}{_AFTER}"),
    Personal.PHONE: re.compile(rf"{_BEFORE}(?:[+(][0-9]|0)[0-9 ().-]{{8,18}}[0-9]{_AFTER}"),
    Personal.POSTCODE: re.compile(rf"{_BEFORE}{POSTCODE.pattern}{_AFTER}"),
    Personal.NATIONAL_NUMBER: re.compile(rf"{_BEFORE}[0-9A-Z](?:[0-9A-Z]|[./-](?=[0-9A-Z])){{7,19}}{_AFTER}"),
    Personal.ADDRESS: _STREET,
}
"""What a text may contain, and what it looks like before its check digits are judged."""
_MOST_CANDIDATES: Final = 20
"""The most candidates of one kind in one text that are judged."""


def held_in(value: object) -> dict[Personal, bool]:
    """Kinds that a text contains: True if one is valid, False if it only has their form.

    Only the first MAX_SEARCHED characters are searched. Raises Unavailable.
    Cost: usually 50 us, at most some milliseconds.
    """
    if not isinstance(value, str) or len(value) < _LEAST_TEXT:
        return {}
    text = value[:MAX_SEARCHED]
    if len(text) <= _LONGEST_NUMBER and not any(map(str.isalpha, text)):
        return {}  # one number is judged as a whole
    return {
        kind: any(kind is Personal.ADDRESS or _VALUES[kind](each) for each in candidates)
        for kind, pattern in _IN_TEXTS.items()
        if (candidates := list(islice(_candidates(kind, pattern, text), _MOST_CANDIDATES)))
    }


def _candidates(kind: Personal, pattern: re.Pattern[str], text: str) -> Iterator[str]:
    for match in pattern.finditer(text):
        # a word or a date has the form of a number with check digits, and the length of none
        if kind is not Personal.NATIONAL_NUMBER or _national_forms(_compact(match[0])):
            yield match[0]


@cache
def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise Unavailable(CoverageReason.EXTRA, f"{error.name} is not installed", from_lock("demo")) from None


def require_libraries() -> None:
    """Raises Unavailable without the extra: better before a long read than in it."""
    for name in ("stdnum.gb.nhs", "stdnum.luhn", "stdnum.iban", "stdnum.verhoeff", "phonenumbers"):
        _library(name)
