"""What MkDocs is told while it builds the documentation site (`hooks` in mkdocs.yml; `make docs`).

The pages in `docs/` stay as they are and are read on GitHub as well. Four things differ on a site:

- A page links to files outside of `docs/`. Each gets a place below `repository/`: a page with its text if
  that is short, else the file itself. A folder gets a page that lists it. Only what git has is published.
- The navigation is the home page, `docs/README.md`: its headings, and the pages in their tables, titled as
  the links are.
- Python-Markdown reads by other rules than GitHub. What belongs to a list item is four columns further in, a
  list or table has a blank line before it, and what a fence says behind its language is an error. So spaces,
  blank lines and fences change (`for_python_markdown`), and no word does.
- Diagrams are drawn by mermaid, which is taken from `tools/node` and served by the site itself: a reader's
  browser asks no other host for anything. Without npm the site shows their text.

A link that leads nowhere is left as it is, and MkDocs' strict mode fails on it.
"""

import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from tools.tracked_files import tracked_files

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
INDEX = "README.md"
REPOSITORY = "repository"
SHOWN = 64 * 1024
"""Longest text, in bytes, that becomes a page."""
TEXTS = {
    ".hcl": "hcl",
    ".json": "json",
    ".md": "",
    ".service": "ini",
    ".sh": "bash",
    ".timer": "ini",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".py": "python",
}
MERMAID = ROOT / "tools" / "node" / "node_modules" / "mermaid" / "dist" / "mermaid.min.js"
SCRIPT = "assets/mermaid.min.js"

_LISTED = re.compile(r"^\| \[(?P<title>[^]]*)\]\((?P<page>[^)#]+\.md)\)", re.M)
_LINK = re.compile(r"(?<=\]\()(?P<target>[^)#\s]+)(?=[)#])")
_FENCED = re.compile(r"^(?P<fence> *(?:`{3,}|~{3,})).*?^ *(?:`{3,}|~{3,}) *$", re.M | re.S)


def navigation(index: str) -> list[Any]:
    """The site's navigation in MkDocs' form, from the text of `docs/README.md`.

    A heading without a table of pages has no place in it.
    """
    nav: list[Any] = [INDEX]
    for section in re.split(r"^## ", index, flags=re.M)[1:]:
        beginning, *groups = re.split(r"^### ", section, flags=re.M)
        inside = [*_pages(beginning), *({group.splitlines()[0]: _pages(group)} for group in groups)]
        if inside:
            nav.append({section.splitlines()[0]: inside})
    return nav


def _pages(text: str) -> list[dict[str, str]]:
    return [{match["title"]: match["page"]} for match in _LISTED.finditer(text)]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Take the navigation from the index."""
    config.nav = navigation((Path(config.docs_dir) / INDEX).read_text(encoding="utf-8"))
    return config


def targets_of(text: str, folder: Path) -> list[Path]:
    """The files and folders of this repository that a page links to, which are there."""
    found = (_target(match["target"], folder) for match in _LINK.finditer(_FENCED.sub("", text)))
    return [target for target in found if target is not None]


def _target(link: str, folder: Path) -> Path | None:
    if ":" in link:
        return None
    target = (folder / link).resolve()
    if target.is_relative_to(DOCS):
        return target if target.exists() else None
    return target if target in _published() else None


@cache
def _published() -> frozenset[Path]:
    """The files that git has, and their folders: what else lies in a clone may be a key."""
    files = tracked_files(or_new=False)
    folders = {folder for file in files for folder in file.parents if folder.is_relative_to(ROOT)}
    return frozenset(files) | folders


def place_of(target: Path) -> str:
    """Where a file or folder of this repository lies among the sources of the site."""
    if target.is_relative_to(DOCS):
        place = target.relative_to(DOCS).as_posix()
        return f"{place}/README.md" if target.is_dir() else place
    place = f"{REPOSITORY}/{target.relative_to(ROOT).as_posix()}"
    if target.is_dir():
        return f"{place}/README.md"
    return f"{place}.md" if _is_shown(target) and target.suffix != ".md" else place


def _is_shown(target: Path) -> bool:
    return target.suffix in TEXTS and target.stat().st_size <= SHOWN


def outside_of_docs(pages: list[Path]) -> list[Path]:
    """All that pages link to outside of `docs/`, and all that those link to, in order of their places."""
    found: set[Path] = set()
    waiting = list(pages)
    while waiting:
        page = waiting.pop()
        if page.is_dir():
            targets = _listed(page)
        else:
            targets = targets_of(page.read_text(encoding="utf-8"), page.parent)
        fresh = {target for target in targets if not target.is_relative_to(DOCS)} - found
        found |= fresh
        waiting += [target for target in fresh if target.is_dir() or target.suffix == ".md"]
    return sorted(found)


def _listed(folder: Path) -> list[Path]:
    inside = [path for path in _published() if path.is_relative_to(folder) and path.is_file()]
    return sorted(path for path in inside if path.suffix in TEXTS)


def page_for(target: Path) -> str:
    """The Markdown of the page that shows a file or lists a folder."""
    name = target.relative_to(ROOT).as_posix()
    if target.is_dir():
        lines = [f"- [{path.relative_to(target)}]({path.relative_to(target)})" for path in _listed(target)]
        return "\n".join([f"# {name}/", "", *lines, ""])
    text = target.read_text(encoding="utf-8")
    return text if target.suffix == ".md" else f"# {name}\n\n````{TEXTS[target.suffix]}\n{text}````\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Give what lies outside of `docs/` its place, and mermaid its own."""
    pages = [Path(file.abs_src_path) for file in files.documentation_pages() if file.abs_src_path]
    for target in outside_of_docs(pages):
        place = place_of(target)
        if place.endswith(".md"):
            files.append(
                File.generated(config, place, content=page_for(target), inclusion=InclusionLevel.NOT_IN_NAV)
            )
        else:
            files.append(File.generated(config, place, abs_src_path=str(target)))
    if MERMAID.is_file():
        files.append(File.generated(config, SCRIPT, abs_src_path=str(MERMAID)))
    return files


def source_of(place: str) -> Path:
    """The folder from which the links of a page at this place of the site are meant."""
    inside = place.removeprefix(f"{REPOSITORY}/")
    return (ROOT if inside != place else DOCS) / Path(inside).parent


def linked(markdown: str, place: str) -> str:
    """A page with its links as they are on the site."""
    folder = source_of(place)

    def put(match: re.Match[str]) -> str:
        target = _target(match["target"], folder)
        return match["target"] if target is None else os.path.relpath(place_of(target), Path(place).parent)

    return _LINK.sub(put, markdown)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    text = for_python_markdown(linked(markdown, page.file.src_uri))
    return text if MERMAID.is_file() else text.replace("```mermaid", "```text")


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Load mermaid where there is a diagram, before the theme's script, which would fetch it elsewhere."""
    if 'class="mermaid"' not in output:
        return output
    script = os.path.relpath(SCRIPT, Path(page.file.dest_uri).parent)
    return output.replace("</head>", f'<script src="{script}"></script></head>', 1)


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
