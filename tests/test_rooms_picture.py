"""How the picture of the rooms is laid out."""

import re
from graphlib import CycleError
from xml.etree import ElementTree

import pytest

from tests.build_context import ROOT
from tools.rooms import ROOMS, floors_of, reduced


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    edges = {"cli": {"server", "keys", "crypto"}, "server": {"keys"}, "keys": {"crypto"}, "crypto": set()}
    assert reduced(edges) == {"cli": {"server"}, "server": {"keys"}, "keys": {"crypto"}, "crypto": set()}


def test_a_room_stands_below_the_lowest_that_imports_it() -> None:
    edges: dict[str, set[str]] = {"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": {"c"}}
    assert floors_of(edges) == [["a", "d"], ["b"], ["c"]]


def test_rooms_in_a_circle_are_an_error() -> None:
    with pytest.raises(CycleError):
        reduced({"a": {"b"}, "b": {"a"}})


def test_the_committed_picture_has_a_box_for_each_room_and_can_be_read() -> None:
    text = (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(text)  # noqa: S314 - a file of this repository
    assert re.findall(r'class="name"[^>]*>([^<]+)<', text) == [name.replace(".", "/") for name in ROOMS]
    shown = {name.partition("/")[0] for name in re.findall(r'class="name"[^>]*>([^<]+)<', text)}
    packages = {path.parent.name for path in (ROOT / "sealwire").glob("*/__init__.py")}
    assert packages == shown
