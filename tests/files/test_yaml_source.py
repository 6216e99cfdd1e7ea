"""YAML with places: every complaint says where, and nothing but SourceError comes out."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.files.errors import Complaints, SourceError
from sealwire.files.yaml_source import MAX_SOURCE_BYTES, Node, parse_yaml


def error_of(source: bytes) -> SourceError:
    """What is wrong with a source that must be refused."""
    with pytest.raises(SourceError) as caught:
        parse_yaml(source, "file.yaml", "docs/x.md")
    return caught.value


def test_values_know_where_they_stand() -> None:
    root = parse_yaml(b"a: 1\nb:\n  - x\n  - {c: 2000-01-31}\n", "file.yaml", "docs/x.md").mapping()
    assert (root["a"].line, root["a"].column) == (1, 4)
    first, second = root["b"].items()
    assert (first.line, first.column, first.text()) == (3, 5, "x")
    inner = second.mapping()["c"]
    assert (inner.line, inner.column, inner.day()) == (4, 9, date(2000, 1, 31))


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        (b"", 1, 1),
        (b"a: {x: 1, x: 2}\n1: [!!int x]\nb: 3\nb: 2000-99-99\n", 1, 11),
        (b"# only a comment\n", 1, 1),
        (b"a: [1\n", 2, 1),
        (b"a: b: c\n", 1, 5),
        (b"a: 1\na: 2\n", 2, 1),
        (b"1: a\n", 1, 1),
        (b"yes: a\n", 1, 1),
        (b"? [a]\n: b\n", 1, 3),
        (b"a: b\n---\nc: d\n", 2, 1),
        (b"a: !python/object:os.system x\n", 1, 4),
        (b"x: 1\na: 2000-99-99\n", 2, 4),
        (b"2000-99-99: x\n", 1, 1),
        (b'a: !!bool "x"\n', 1, 4),
        (b'a: !!int "x"\n', 1, 4),
        (b'!!float "x": 1\n', 1, 1),
        (b'a: !!timestamp "x"\n', 1, 4),
        (b"a: !!binary x\n", 1, 4),
        (b"a: " + b"9" * 5000 + b"\n", 1, 4),
        (b'a: "\\UFFFFFFFF"\n', 1, 1),
        (b"a: \xff\n", 1, 1),
        (b"a: \0\n", 1, 1),
        (b"<<: {a: b}\n", 1, 1),
        (b"[" * 5000, 1, 1),
        (b"#" * (MAX_SOURCE_BYTES + 1), 1, 1),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_place(source: bytes, line: int, column: int) -> None:
    error = error_of(source)
    assert (error.filename, error.line, error.column) == ("file.yaml", line, column)
    assert str(error).startswith(f"file.yaml:{line}:{column}: ")


@pytest.mark.parametrize("written", ["1:30", "-1:00", "12:30:59.5", "0:" + "59:" * 60_000 + "1"])
def test_numbers_to_the_base_of_sixty_are_texts(written: str) -> None:
    root = parse_yaml(f"a: {written}\n12:3: 0x10\n".encode(), "file.yaml", "docs/x.md").mapping()
    assert root["a"].text() == written
    assert root["12:3"].integer(16, 16) == 16
    with pytest.raises(SourceError):
        parse_yaml(f"!!float {written}".encode(), "file.yaml", "docs/x.md").number(0, 90)


def test_an_alias_is_refused_at_its_anchor() -> None:
    error = error_of(b"x: 1\na: &n [1]\nb: *n\n")
    assert (error.line, error.hint) == (2, "write it out")


NODE = parse_yaml(
    b"text: abc\nempty: ''\nnumber: 5\nreal: 0.5\nflag: true\nday: 2000-01-31\ntime: 2000-01-31 10:00:00\n"
    b"list: [a]\nmap: {k: v}\nnull_: null\n",
    "file.yaml",
    "docs/x.md",
).mapping()


def test_typed_readers_return_their_type() -> None:
    assert NODE["text"].text() == "abc"
    assert NODE["text"].choice(["abc", "abd"]) == "abc"
    assert NODE["number"].integer(0, 5) == 5
    assert NODE["number"].number(0, 5) == 5.0
    assert NODE["real"].number(0, 1) == 0.5
    assert NODE["flag"].boolean() is True
    assert NODE["map"].entries(["k"], ["x"])["k"].text() == "v"


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (NODE["number"].text, "quotes"),
        (NODE["empty"].text, "quotes"),
        (NODE["null_"].text, "quotes"),
        (lambda: NODE["text"].choice(["abd"]), "did you mean 'abd'?"),
        (lambda: NODE["text"].choice(["xyz"]), "one of: xyz"),
        (lambda: NODE["number"].integer(0, 4), ""),
        (lambda: NODE["flag"].integer(0, 4), ""),
        (lambda: NODE["real"].integer(0, 4), ""),
        (lambda: NODE["flag"].number(0, 4), ""),
        (lambda: NODE["number"].number(0, 4), ""),
        (lambda: NODE["text"].number(0, 4), ""),
        (NODE["number"].boolean, ""),
        (NODE["time"].day, "1900-01-31"),
        (NODE["text"].day, "1900-01-31"),
        (NODE["text"].mapping, "key: value"),
        (NODE["map"].items, "- item"),
        (NODE["text"].items, "- item"),
        (lambda: NODE["map"].entries(["kk"], ["k"]), "add `kk:`"),
        (lambda: NODE["map"].entries(["kk"]), "did you mean 'kk'?"),
        (lambda: NODE["map"].entries([], ["xyz"]), "known keys: xyz"),
    ],
)
def test_typed_readers_complain_with_a_hint(call: object, hint: str) -> None:
    assert callable(call)
    with pytest.raises(SourceError) as caught:
        call()
    assert hint in caught.value.hint
    assert caught.value.line >= 1


def test_a_node_does_not_show_its_value() -> None:
    assert "abc" not in repr(NODE["text"])


@given(
    st.one_of(
        st.binary(max_size=60), st.text("{}[]:,-?!&*|>'\"%@` \n\t#ab01.<~\\Ux", max_size=30).map(str.encode)
    )
)
def test_any_bytes_are_read_or_refused(source: bytes) -> None:
    try:
        place: Node | SourceError = parse_yaml(source, "file.yaml", "docs/x.md")
    except SourceError as error:
        place = error
    assert min(place.line, place.column) >= 1


def test_all_that_is_wrong_with_keys_and_values_is_told_at_once() -> None:
    error = error_of(b"a: {x: 1, x: 2}\n1: [!!int x]\nb: 3\nb: 2000-99-99\n")
    places = [(each.line, each.column) for each in (error, *error.others)]
    assert places == [(1, 11), (2, 1), (2, 5), (4, 1), (4, 4)]


def test_entries_are_judged_as_far_as_they_can_be() -> None:
    source = b"form: 1\nto: 2\nstep: 3\n"
    root = parse_yaml(source, "file.yaml", "docs/x.md")
    complaints = Complaints()
    entries = root.entries(["from", "to", "unit"], (), complaints)
    assert {key: node.value for key, node in entries.items()} == {"from": 1, "to": 2}
    with pytest.raises(SourceError) as caught:
        complaints.check()
    errors = (caught.value, *caught.value.others)
    assert [(each.line, each.column) for each in errors] == [(1, 1), (1, 1), (3, 1)]
    told = [str(each).rpartition(": ")[2] for each in errors]
    assert told == ["unknown key 'form'", "missing key 'unit'", "unknown key 'step'"]
    with pytest.raises(SourceError) as strict:
        root.entries(["from", "to", "unit"])
    assert len(strict.value.others) == 2
