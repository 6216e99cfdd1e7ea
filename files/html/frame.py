"""Templates filled in: every text is escaped, and nothing in it hides.

What stands in a page was chosen by clients, servers and files. jinja2 escapes each text; characters that
nobody can see are replaced, so that no name can turn the text around it. The frame's content policy tells
browsers that a page loads and runs nothing.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_TEXT: Final = 1024
"""Characters of one text."""

_FRAME: Final = Path(__file__).parent


class Tone(Enum):
    """How a state is to be taken; the value is the style's word for it."""

    FINE = "pass"
    LOOK = "warn"
    ACT = "fail"


@dataclass(frozen=True, slots=True)
class Mark:
    """A word with a colour. The word says everything, and the colour repeats it."""

    text: str
    tone: Tone


def render(folder: Path, template: str, **values: object) -> str:
    """A template of `folder` with `values`; it may extend `base.html.j2` and import `parts.html.j2`.

    A name in it that is not given is an error of the program. No text from outside may be a template.

    Cost: O(the page), with 30 ms for the first one
    Source: the manual of jinja2, "Autoescaping"
    """
    return _environment(folder).get_template(template).render(**values)


@cache
def _environment(folder: Path) -> "Environment":
    # 2 MB of every process, of which few write a page
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    environment = Environment(
        loader=FileSystemLoader([folder, _FRAME]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # a text and no template: somebody else wrote it, and a test compares its hash
    environment.globals["pico"] = (_FRAME / "pico.css").read_text(encoding="utf-8")
    return environment


def _seen(value: object) -> object:
    """Text in a form in which nothing hides; what a template wrote itself stays."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    text = value[:MAX_TEXT]
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)
