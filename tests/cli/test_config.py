"""`sealwire config init`: what is written is what the reader takes, and nothing is overwritten."""

import json
from pathlib import Path

import pytest

from sealwire.proxy.server.config.new_file import Feature, Layout
from sealwire.proxy.server.config.reader import load_config
from sealwire.proxy.server.config.settings import TlsMode
from tests.cli.runs import Run
from tests.proxy.server.config_texts import EVERYWHERE

BEGINS_WITH = ("config", "init")


@pytest.mark.parametrize("layout", Layout)
def test_the_written_file_is_read(run: Run, tmp_path: Path, layout: Layout) -> None:
    path = tmp_path / "new.yaml"
    features = [word for feature in Feature for word in ("--with", feature.value)]
    done = run("--topology", layout.value, *features, "--output", path)
    assert (done.code, done.err) == (0, "")
    config = load_config(path, {})
    assert (config.listen_tls.mode is TlsMode.PLAINTEXT) is (layout is Layout.DEMO)
    assert "audit create-key" in done.out


def test_servers_and_names_are_those_that_were_given(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    servers = ("--upstream", "m0.clinic.example:27017", "--upstream", "m1.clinic.example:27027")
    assert (
        run(
            "--topology", "replica-set", "--advertise", "proxy.clinic.example", *servers, "--output", path
        ).code
        == 0
    )
    members = load_config(path, {}).members
    assert [str(member.upstream) for member in members] == list(servers[1::2])
    assert [str(member.advertise) for member in members] == [
        f"proxy.clinic.example:{port}" for port in (27018, 27019)
    ]


def test_a_file_that_is_there_stays(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "sealwire.yaml"
    path.write_text("mine")
    done = run("--output", path)
    assert (done.code, done.out) == (73, "")
    assert path.read_text() == "mine"
    link = tmp_path / "link.yaml"
    link.symlink_to(tmp_path / "elsewhere.yaml")
    assert run("--output", link).code == 73
    assert not (tmp_path / "elsewhere.yaml").exists()


def test_a_folder_that_is_not_there_is_a_wrong_setting(run: Run, tmp_path: Path) -> None:
    assert run("--output", tmp_path / "none" / "sealwire.yaml").code == 78


def said_of_wrong(run: Run, tmp_path: Path, layout: Layout, option: str, value: str) -> str:
    """What is said of an option, where no file is written and none is named."""
    path = tmp_path / "sealwire.yaml"
    done = run("--topology", layout.value, option, value, "--output", path)
    assert (done.code, path.exists(), str(path) in done.err) == (2, False, False)
    return done.err


@pytest.mark.parametrize(
    "upstream",
    ["mongo.example", "m:1\nlog: {level: debug}", 'm:1"}\nworkers: 9', "[::1", "::1:9", "m:0", "m:99999", ""],
)
@pytest.mark.parametrize("layout", Layout)
def test_what_is_no_address_writes_nothing_and_names_the_option(
    run: Run, tmp_path: Path, layout: Layout, upstream: str
) -> None:
    said = said_of_wrong(run, tmp_path, layout, "--upstream", upstream)
    assert "'--upstream': takes HOST:PORT" in said


@pytest.mark.parametrize("layout", [layout for layout in Layout if layout is not Layout.DEMO])
@pytest.mark.parametrize("host", ["proxy.example:27018", "[::1]:27018", "a b", "-", "", EVERYWHERE, "[::]"])
def test_what_is_no_host_writes_nothing_and_names_the_option(
    run: Run, tmp_path: Path, layout: Layout, host: str
) -> None:
    assert "'--advertise': takes " in said_of_wrong(run, tmp_path, layout, "--advertise", host)


@pytest.mark.parametrize("layout", [Layout.STANDALONE, Layout.REPLICA_SET, Layout.FOLLOWED])
@pytest.mark.parametrize("host", ["fd00::1", "[fd00::1]"])
def test_an_ipv6_address_is_a_host(run: Run, tmp_path: Path, layout: Layout, host: str) -> None:
    path = tmp_path / "sealwire.yaml"
    words = ("--topology", layout.value, "--advertise", host, "--upstream", "[fd00::2]:27017")
    assert run(*words, "--output", path).code == 0
    config = load_config(path, {})
    if config.discovery is None:
        assert {str(member.advertise) for member in config.members} == {"[fd00::1]:27018"}
    else:
        assert config.discovery.advertise == "fd00::1"


def test_what_is_printed_can_be_done_from_any_folder(run: Run, tmp_path: Path) -> None:
    done = run("--with", "audit", "--output", tmp_path / "a.yaml")
    assert f"--keyring /var/lib/sealwire/keyring.json --policy {tmp_path}/policy.yaml" in done.out
    assert f"create-key {tmp_path}/audit.key" in done.out


def test_it_prints_on_request_and_tells_programs_what_is_needed(run: Run, tmp_path: Path) -> None:
    printed = run("--topology", "demo", "--output", "-")
    assert (printed.code, printed.out.startswith("# Sealwire, demo.")) == (0, True)
    done = run("--json", "--output", tmp_path / "a.yaml")
    assert json.loads(done.out)["needed"][0].startswith(f"{tmp_path}/policy.yaml: ")


@pytest.mark.parametrize(
    "words",
    [
        ("--upstream", "a:1", "--upstream", "b:1"),
        ("--topology", "demo", "--advertise", "a"),
        ("--json", "--output", "-"),
        ("--topology", "followed", "--upstream", "a:1", "--upstream", "a:1"),
        ("--topology", "replica-set", *(word for n in range(51) for word in ("--upstream", f"m{n}:1"))),
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words).code == 2
