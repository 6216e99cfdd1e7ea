"""The page of the admin address: in a browser, as people see it, and of a proxy that has traffic."""

import json
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.proxy.server.admin import AdminServer
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.page.door import PANELS, PageDoor
from tests.build_context import ROOT
from tests.integration.outside.chosen import own_server
from tests.node_programs import NODE, require_chromium
from tests.proxy.server.page.pages import (
    NOW,
    FixedFeed,
    HandClock,
    a_config,
    a_health,
    a_token,
    filled_hour,
    nothing_seen,
    some_watched,
)
from tests.support import warm
from tests.support.audit_log import until_refusals
from tests.support.doc_commands import run_document
from tests.support.pictures import SHARE, different_cells
from tests.support.proxied import proxied
from tests.support.secantus import secantus

pytestmark = [pytest.mark.integration, own_server("it has one of its own")]

PAGE = ROOT / "docs" / "operations" / "page.md"
PICTURES = tuple(ROOT / "docs" / "operations" / name for name in ("page.png", "page-dark.png"))
MARKER = "9434765919"
POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}, notes: {mode: random}}
collections: {clinic.patients: {nhs_number: nhs, notes: notes}}
"""


@contextmanager
def full_page(folder: Path) -> Iterator[str]:
    """The address of a page with something in every section, always of the same time."""
    config = a_config(Path("/var/log/sealwire"))
    feed, clock = FixedFeed(config), HandClock()
    door = PageDoor(
        config, replace(a_health(), in_clear=("phone",)), feed, a_token(folder), lambda _: some_watched()
    )
    door._hour = filled_hour(clock, feed)
    for number, days in ((1796000000, 9), (1795900000, 80)):
        feed.text = feed.text.replace(str(number), str(round(NOW.timestamp()) + days * 86_400))
    clock.now_s += 20
    door.certificate_ends = datetime(2027, 9, 1, tzinfo=UTC)
    server = AdminServer(Address("127.0.0.1", 0), a_health(), feed, door=door)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sealwire.proxy.server.page.door.datetime", FixedTime)
        server.start()
        try:
            yield f"http://127.0.0.1:{server.address.port}/page"
        finally:
            server.close()


class FixedTime(datetime):
    """It is always the same time."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "FixedTime":
        return cls.fromtimestamp(NOW.timestamp(), tz)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the browser's pictures are after `seen`."""
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def seen(folder: Path) -> dict[str, Any]:
    """What a browser saw, in light and dark, on a wide screen and a narrow one, and without scripts."""
    chromium = require_chromium()
    with full_page(folder) as url:
        command: list[str | Path] = [
            "node",
            NODE / "look_at_page.mjs",
            chromium,
            url,
            folder / "token",
            folder,
        ]
        done = warm.run(command, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr
    if os.environ.get("SEALWIRE_PICTURE") == "1":
        for picture in PICTURES:
            png = (folder / picture.name).read_bytes()
            picture.write_bytes(with_text(png, ", ".join(titles(folder))))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def titles(folder: Path) -> list[str]:
    """The headings of the sections."""
    return [panel(nothing_seen(folder)).title for panel in PANELS]


def with_text(png: bytes, sections: str) -> bytes:
    """A picture that says which sections the page had. Source: the PNG specification, 11.3.4.3 (tEXt)."""
    data = b"tEXtSections\0" + sections.encode()
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    end = png.index(b"IEND") - 4
    return png[:end] + chunk + png[end:]


WIDTHS = ("wall", "wide", "narrow", "least")
LOOKS = tuple(f"{width}-{scheme}" for width in WIDTHS for scheme in ("light", "dark"))


@pytest.mark.parametrize("name", LOOKS)
def test_the_page_keeps_nobody_out(seen: dict[str, Any], tmp_path: Path, name: str) -> None:
    look = next(each for each in seen["looks"] if each["name"] == name)
    assert look["form"] == {"path": "/page/login", "violations": []}
    assert (look["path"], look["headings"]) == ("/page", titles(tmp_path))
    assert look["violations"] == []
    assert look["overflow"] <= 0
    assert look["lamps"] == ["Encrypted", "Moving", "Due", "Wrong"]
    assert len(look["plots"]) == 3
    assert min(look["plots"]) > 100


@pytest.mark.parametrize("name", LOOKS)
def test_a_browser_has_nothing_to_say_and_asks_nobody_else(seen: dict[str, Any], name: str) -> None:
    look = next(each for each in seen["looks"] if each["name"] == name)
    assert look["said"] == []
    assert {urlsplit(address).hostname for address in look["asked"]} == {"127.0.0.1"}


def test_a_keyboard_reaches_everything_in_order(seen: dict[str, Any], tmp_path: Path) -> None:
    for look in seen["looks"]:
        first = ("Skip to the overview", "Look again", "Load every minute", "Log out")
        reached = look["tabs"][: len(first) + len(PANELS)]
        assert [each["text"] for each in reached] == [*first, *titles(tmp_path)]
        assert all(each["left"] >= 0 and each["width"] > 0 for each in reached)


def test_without_scripts_it_works_as_well(seen: dict[str, Any]) -> None:
    after = {"after": "/page/login", "again": "/page/login"}
    assert seen["plain"] == {"path": "/page", "live": "/page/live", **after}


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_the_pictures_in_the_documents_have_the_pages_sections(tmp_path: Path, picture: Path) -> None:
    data = picture.read_bytes()
    begin = data.index(b"tEXtSections\0") + len(b"tEXtSections\0")
    (length,) = struct.unpack(">I", data[begin - 17 : begin - 13])
    assert data[begin : begin + length - 9].decode() == ", ".join(titles(tmp_path))


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_the_page_looks_as_in_the_documents(folder: Path, picture: Path) -> None:
    assert different_cells(picture, folder / picture.name) <= SHARE


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("name", ["removed.png", "swapped.png", "lowered.png"])
def test_a_card_that_is_gone_or_elsewhere_is_another_picture(folder: Path, name: str) -> None:
    assert different_cells(folder / "page.png", folder / name) > 2 * SHARE


@pytest.mark.usefixtures("seen")
def test_letters_that_are_drawn_otherwise_are_the_same_picture(folder: Path) -> None:
    one, other = folder / "page.png", folder / "between.png"
    assert one.read_bytes() != other.read_bytes()
    assert different_cells(one, other) <= SHARE


def test_the_document_tells_of_every_section(tmp_path: Path) -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## What is on it")[2].partition("\n\nWith")[0]
    rows = [line.split(" | ")[0].strip("| ") for line in table.splitlines() if line.startswith("| ")]
    assert rows[1:] == titles(tmp_path)


WATCH = """
version: 1
audit: {path: audit.jsonl, key: audit.key.pub}
state: watch.sqlite
rules: {refused: {at_least: 1}}
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_the_page_of_a_proxy_shows_what_it_does_and_no_value(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_document(PAGE, tmp_path, "token")
    run_document(ROOT / "docs" / "operations" / "audit.md", tmp_path, "key")
    (tmp_path / "alerts.yaml").write_text(WATCH)
    monkeypatch.setenv("SEALWIRE_ADMIN_PAGE_TOKEN_FILE", str(tmp_path / "admin-token"))
    monkeypatch.setenv("SEALWIRE_ADMIN_PAGE_WATCH", str(tmp_path / "alerts.yaml"))
    log = {"path": str(tmp_path / "audit.jsonl"), "key": str(tmp_path / "audit.key"), "checkpoint_lines": 1}
    settings = {"workers": workers, "audit": log}
    with secantus(tmp_path) as database:
        before = proxied(tmp_path, POLICY, database.address, settings=settings)
        with before as proxy, MongoClient[Any](proxy.uri()) as client:
            at = {"ADMIN_PORT": str(proxy.admin_port)}
            patients = client["clinic"]["patients"]
            patients.insert_one({"nhs_number": MARKER, "notes": MARKER})
            assert patients.count_documents({"nhs_number": MARKER}) == 1
            with pytest.raises(OperationFailure):
                patients.find_one({"nhs_number": {"$regex": MARKER}})
            client["clinic"]["patients"].find_one({"nhs_number": MARKER})
            until_refusals(tmp_path / "audit.jsonl", 1)
            warm.sealwire("watch", tmp_path / "alerts.yaml", "--once", check=True, timeout=60)
            page = run_document(PAGE, tmp_path, "look", at)
    assert MARKER not in page
    for said in ("ready: clients are served", "clinic.patients", "pattern", "policy explain", "active"):
        assert said in page
    assert '<td role="cell"><span class="name" aria-hidden="true">Rule</span> refused' in page
    assert "Newest checkpoint" in page
    assert "2 of 2 classes" in page
    assert ("Workers that serve" in page) is (workers > 1)
