"""Markdown as GitHub reads it, put into the form that Python-Markdown reads alike.

The pages in `docs/` are written for GitHub. MkDocs reads Markdown by other rules: what belongs to a list item
stands four columns further in, a list or table has a blank line before it, and what a fence says behind its
language is an error. Only spaces, blank lines and fences change; no word does.
"""

import re
from dataclasses import dataclass, field

_FENCE = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<language>[\w-]*)")
_ITEM = re.compile(r"^(?P<indent> *)(?P<marker>[-*+]|\d{1,9}[.)])(?P<gap> {1,4})(?=\S)")
_STEP = 4


@dataclass(slots=True)
class _Reader:
    """One pass over a page.

    It knows at which column the content of each open item begins, whether the last one has a blank line, and
    the fence that is open.
    """

    out: list[str] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    loose: bool = False
    fence: str = ""
    shift: int = 0

    def read(self, line: str) -> None:
        if self.fence:
            self._inside_fence(line)
        elif not line.strip():
            self.out.append("")
            self.loose = True
        elif fence := _FENCE.match(line):
            self._leave(len(fence["indent"]))
            self.fence = fence["marks"]
            self.shift = self._shift()
            self.out.append(_moved(f"{fence['indent']}{fence['marks']}{fence['language']}", self.shift))
        elif item := _ITEM.match(line):
            self._item(line, item)
        else:
            self._text(line)

    def _inside_fence(self, line: str) -> None:
        self.out.append(_moved(line, self.shift) if line.strip() else "")
        if line.strip().startswith(self.fence) and not line.strip().strip(self.fence[0]):
            self.fence = ""

    def _item(self, line: str, item: re.Match[str]) -> None:
        indent = len(item["indent"])
        if not self.items and not self._after_blank() and item["marker"] not in {"-", "*", "+", "1."}:
            self._text(line)  # a number at the beginning of a line of text
            return
        beside = bool(self.items) and indent < self.items[-1]
        self._leave(indent)
        if self.loose or not beside:
            self._blank()
        self.loose = False
        self.out.append(" " * (_STEP * len(self.items)) + item["marker"].ljust(_STEP) + line[item.end() :])
        self.items.append(item.end())

    def _text(self, line: str) -> None:
        indent = len(line) - len(line.lstrip())
        if self._after_blank() or line.startswith("#"):
            self._leave(indent)
        if line.lstrip().startswith("|") and not self._last().startswith("|"):
            self._blank()
        lazy = bool(self.items) and indent < self.items[-1]
        self.out.append(line if lazy else _moved(line, self._shift()))

    def _leave(self, indent: int) -> None:
        while self.items and indent < self.items[-1]:
            self.items.pop()

    def _shift(self) -> int:
        return _STEP * len(self.items) - self.items[-1] if self.items else 0

    def _last(self) -> str:
        return self.out[-1].lstrip() if self.out else ""

    def _after_blank(self) -> bool:
        return not self._last()

    def _blank(self) -> None:
        if not self._after_blank():
            self.out.append("")


def _moved(line: str, shift: int) -> str:
    return " " * shift + line if shift >= 0 else line[-shift:]


def for_python_markdown(text: str) -> str:
    """The same page for Python-Markdown. Takes one pass; a page that is written for both stays as it is."""
    reader = _Reader()
    for line in text.splitlines():
        reader.read(line)
    return "\n".join(reader.out) + "\n"
