"""Text that clients write for a log, such as a purpose: what looks like a person's data in it is masked.

A client may write anything there, a patient's number and name too. Patterns find identifiers; they cannot
find every name. So only purposes that the policy lists stand in a log as they are.
Sources: GOV.UK bulk data transfer specification (postcode); HMRC NIM39110 (National Insurance number).
"""

import re
from functools import lru_cache
from typing import Final

MASK: Final = "[masked]"
_CUT: Final = "…"
_MOST_KEPT: Final = 1024

EMAIL: Final = re.compile(r"[^@\s,;<>]{1,64}@[^@\s,;<>.]+(?:\.[^@\s,;<>.]+)+")
POSTCODE: Final = re.compile(
    r"(?:GIR ?0AA|(?:[A-PR-UWYZ][0-9][0-9A-HJKPSTUW]?|[A-PR-UWYZ][A-HK-Y][0-9][0-9ABEHMNPRVWXY]?)"
    r" ?[0-9][ABD-HJLNP-UW-Z]{2})",
    re.IGNORECASE,
)
NATIONAL_INSURANCE: Final = re.compile(
    r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?(?:[0-9]{2} ?){3}[A-D]", re.IGNORECASE
)

# Six digits and more, with signs between them: numbers of patients, phones, cards, accounts; dates.
_NUMBER: Final = r"\d(?:[ ./()+_-]{0,3}\d){5,}"
_IDENTIFIER: Final = re.compile(
    rf"{EMAIL.pattern}|\b{NATIONAL_INSURANCE.pattern}\b|\b{POSTCODE.pattern}\b|{_NUMBER}", re.IGNORECASE
)
_BROKEN_OFF: Final = re.compile(r"\d[\d ./()+_-]*\Z")
"""What may be the beginning of a number, at the end of a text that was cut."""
_TITLED: Final = r"[^\W\d_a-z][\w'-]+"
_NAME: Final = re.compile(rf"\b{_TITLED}(?: +{_TITLED})+")
_TITLED_WORD: Final = re.compile(rf"\b{_TITLED}")


@lru_cache(_MOST_KEPT)
def screened(text: str, most: int, *, has_names: bool = True) -> str:
    """`text` with a mask for each part that looks like an identifier, at most `most` characters and a mark.

    Two words in a row with capitals count as a name, unless `has_names` is False; beside an identifier each
    word with a capital does. Cost: 10 us; 0.1 us for a text that was screened lately.
    """
    is_cut = len(text) > most
    shown, found = _IDENTIFIER.subn(MASK, text)
    if found:
        shown = MASK.join(_TITLED_WORD.sub(MASK, part) for part in shown.split(MASK))
    elif has_names:
        shown = _NAME.sub(MASK, shown)
    if not is_cut:
        return shown
    return _BROKEN_OFF.sub(MASK, shown[:most]) + _CUT
