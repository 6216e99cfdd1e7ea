"""`serve --check`: what was found is told before the error, and programs get both."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sealwire.cli.exit_codes import EX_CONFIG, EX_UNAVAILABLE
from sealwire.cli.serve_check import check_start
from sealwire.crypto import selftest
from sealwire.crypto.errors import SelfTestFailed
from sealwire.files.errors import SourceError
from sealwire.keys.errors import KeysError
from sealwire.proxy.server.errors import FileProblem, UpstreamUnavailable
from sealwire.proxy.server.page.panels import WatchedNow
from tests.proxy.server.site import Site, hello_thread, make_site

NO_KEY = "environment variable names no key"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    with hello_thread() as port:
        made = make_site(tmp_path, port)
        monkeypatch.setattr(os, "environ", made.environ)
        yield made


def unwatched(_: Path) -> WatchedNow:
    raise AssertionError


def server_away(site: Site) -> None:
    site.config["upstream"]["address"] = "127.0.0.1:9"
    site.environ["SEALWIRE_UPSTREAM_ADRESS"] = "secret.example:1"


def kek_misspelt(site: Site) -> None:
    site.environ["SEALWIRE_KEKK"] = site.environ.pop("SEALWIRE_KEK")


def key_misspelt(site: Site) -> None:
    site.config["polici"] = site.config.pop("policy")
    site.config["extra"] = "SEALWIRE_OUR_OWN"
    site.environ |= {"SEALWIRE_POLICI": "secret", "SEALWIRE_OUR_OWN": "secret"}


@pytest.mark.parametrize(
    ("harm", "error", "variable", "code"),
    [
        (server_away, UpstreamUnavailable, "SEALWIRE_UPSTREAM_ADRESS", EX_UNAVAILABLE),
        (kek_misspelt, KeysError, "SEALWIRE_KEKK", EX_CONFIG),
        (key_misspelt, SourceError, "SEALWIRE_POLICI", EX_CONFIG),
    ],
)
def test_a_misspelt_variable_is_told_before_the_error_that_it_is_the_cause_of(
    site: Site,
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[Site], None],
    error: type[Exception],
    variable: str,
    code: int,
) -> None:
    harm(site)
    file = site.write()
    with pytest.raises(error):
        check_start(file, unwatched, as_json=False)
    told = capsys.readouterr()
    assert told.out == ""
    assert f"sealwire: warning: {variable} names no key" in told.err.splitlines()[0]
    with pytest.raises(error):
        check_start(file, unwatched, as_json=True)
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert (document["ok"], document["exit_code"], document["servers_answered"]) == (False, code, False)
    assert document["warnings"][0]["fields"] == {"variable": variable}
    assert [each["event"] for each in document["warnings"]].count(NO_KEY) == 1
    assert all(each["problem"] and each["hint"] for each in document["errors"])
    if error is UpstreamUnavailable:
        assert document["errors"][0]["reason"] == "upstream-refused"
        assert "no TLS on this side" in {each["event"] for each in document["warnings"]}
    assert "secret" not in told.out


def test_a_configuration_that_is_not_there_may_be_so_by_a_misspelt_variable(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.environ["SEALWIRE_CONFG"] = "/etc/sealwire/other.yaml"
    with pytest.raises(FileProblem):
        check_start(site.folder / "none.yaml", unwatched, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["warnings"][0]["hint"] == "did you mean SEALWIRE_CONFIG?"
    assert document["errors"][0]["reason"] == "file-missing"


@pytest.mark.parametrize("probe", [True, False])
def test_ok_says_whether_a_server_was_asked(
    site: Site, capsys: pytest.CaptureFixture[str], probe: bool
) -> None:
    site.config["audit"] = {"path": "audit.jsonl"}
    site.config["upstream"]["probe"] = probe
    if not probe:
        site.config["upstream"]["address"] = "127.0.0.1:9"
    check_start(site.write(), unwatched, as_json=False)
    said = capsys.readouterr().out
    assert said.startswith("ok: ")
    assert ("and servers" in said, "no server was asked" in said) == (probe, not probe)
    check_start(site.write(), unwatched, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["servers_answered"], document["exit_code"]) == (True, probe, 0)
    assert document["errors"] == []


def test_a_start_proves_the_cipher(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise SelfTestFailed("AES-256-SIV")

    monkeypatch.setattr(selftest, "run", broken)
    with pytest.raises(SelfTestFailed):
        check_start(site.write(), unwatched, as_json=False)
