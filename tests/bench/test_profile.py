"""Flame graphs that can be shown to anybody."""

from bench.profile import without_paths


def test_a_picture_holds_no_command_lines() -> None:
    made = (
        '<text id="title" x="5">/opt/app/.venv/bin/py-spy record --output /opt/app/a.svg</text>'
        "<title>process 12:&quot;/opt/app/.venv/bin/python -m sealwire serve&quot; (9 samples, 3%)</title>"
        "<title>data_received (5 samples, 2%)</title>"
    )
    assert without_paths(made, "find-one") == (
        '<text id="title" x="5">find-one</text>'
        "<title>sealwire (9 samples, 3%)</title>"
        "<title>data_received (5 samples, 2%)</title>"
    )
