"""The report's forms: JSON for programs, one HTML page that names cannot break out of, metrics."""

import json
import os
import re
import stat
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sealwire.cli.pages import page_html
from sealwire.cli.tasks import write_first_run
from sealwire.sidecars.errors import CannotCreate, TlsCheckReason
from sealwire.sidecars.tls_check.commands import page_of
from sealwire.sidecars.tls_check.handshake import HttpAnswer, Trouble
from sealwire.sidecars.tls_check.judging import RuleSet, Severity
from sealwire.sidecars.tls_check.report import (
    FORMAT,
    Report,
    TlsMetrics,
    make_report,
    to_json,
    write_whole,
)
from sealwire.sidecars.tls_check.target import EndpointFacts, Plaintext
from tests.sidecars.tls_check.certificates import CERTIFICATE, DATABASE, NOW, PRESENTED, WEB, target_facts
from tests.support.reasons import raising

EVIL = "\"><script>alert(1)</script>'&"
UNREACHABLE = EndpointFacts(DATABASE.endpoint, trouble=Trouble.TIMEOUT, discovered=True)


def evil() -> EndpointFacts:
    certificate = replace(CERTIFICATE, subject=EVIL, issuer=EVIL, names=(EVIL,), key=EVIL)
    presented = replace(PRESENTED, chain=(certificate,), distrust=EVIL, names_host=False)
    return replace(WEB, presented=presented, http=HttpAnswer(200, "", EVIL))


def report(*endpoints: EndpointFacts) -> Report:
    return make_report([target_facts(facts) for facts in endpoints], RuleSet())


def test_the_verdict_is_the_worst_finding() -> None:
    assert report(DATABASE, WEB).verdict is Severity.OFF
    assert report(DATABASE, replace(WEB, http=HttpAnswer(200, "", None))).verdict is Severity.WARN
    assert report(DATABASE, UNREACHABLE).verdict is Severity.FAIL
    assert report(UNREACHABLE, UNREACHABLE).count(Severity.FAIL) == 2


def test_json_says_what_was_seen_and_what_is_wrong() -> None:
    document = json.loads(to_json(report(replace(DATABASE, plaintext=Plaintext.ACCEPTED), UNREACHABLE)))
    assert (document["format"], document["version"], document["verdict"]) == (FORMAT, 1, "fail")
    first, second = document["targets"]
    endpoint = first["endpoints"][0]
    assert endpoint["versions"][2]["suites"][0]["name"] == "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
    assert endpoint["presented"]["chain"][0]["names"] == ["localhost", "127.0.0.1"]
    assert endpoint["presented"]["chain"][0]["days_left"] == 59
    assert [finding["rule"] for finding in first["findings"]] == ["plaintext-accepted"]
    assert second["endpoints"][0]["presented"] is None
    assert second["endpoints"][0]["discovered"] is True


class Page(HTMLParser):
    """Collects tags and text; fails on a tag that is not closed."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("facts", [DATABASE, WEB, UNREACHABLE, evil()])
def test_the_page_is_well_formed_and_needs_nothing_else(facts: EndpointFacts) -> None:
    text = page_html(page_of(report(facts)))
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "a", "form"})
    assert page.attributes.isdisjoint({"src", "href", "onclick", "onerror", "style"})
    assert not re.search(r"https?://[^ <]*\.(js|css|woff)", text)
    assert facts.endpoint.label in page.text


def test_names_that_others_chose_stay_text() -> None:
    text = page_html(page_of(report(evil())))
    assert "<script" not in text
    page = Page()
    page.feed(text)
    assert EVIL in page.text


def test_metrics_tell_expiry_findings_and_silence() -> None:
    metrics = TlsMetrics()
    metrics.update(report(DATABASE, UNREACHABLE))
    samples = {
        (sample.name, sample.labels.get("severity") or sample.labels.get("endpoint")): sample.value
        for family in text_string_to_metric_families(scrape(metrics))
        for sample in family.samples
    }
    expiry = samples[("sealwire_tls_certificate_expiry_timestamp_seconds", "db.example:27017")]
    assert expiry == CERTIFICATE.not_after.timestamp()
    assert samples[("sealwire_tls_findings", "fail")] == 1
    assert samples[("sealwire_tls_last_run_timestamp_seconds", None)] > 0


def figures(file: Path) -> dict[str, float]:
    """The figures without labels in a file."""
    families = text_string_to_metric_families(file.read_text(encoding="utf-8"))
    return {
        sample.name: sample.value for family in families for sample in family.samples if not sample.labels
    }


def run(file: Path, found: Report) -> dict[str, float]:
    """What is in the file after one more run of the program."""
    metrics = TlsMetrics()
    metrics.recall(file)
    metrics.update(found)
    metrics.write(file)
    return figures(file)


FIRST, LAST, SUCCESS = (
    f"sealwire_tls_{name}_timestamp_seconds" for name in ("first_run", "last_run", "last_success")
)


def test_the_last_success_outlives_runs_that_do_not_succeed(tmp_path: Path) -> None:
    file = tmp_path / "tls.prom"
    write_first_run(file, "tls", NOW - timedelta(days=2))
    bad = run(file, report(DATABASE, UNREACHABLE))
    assert bad.pop(LAST) > 0
    assert bad == {FIRST: pytest.approx((NOW - timedelta(days=2)).timestamp(), abs=0.001)}
    good = run(file, report(DATABASE))
    assert set(good) == {LAST, SUCCESS}
    assert good[SUCCESS] == good[LAST]
    worse = run(file, report(DATABASE, UNREACHABLE))
    assert worse[LAST] > good[LAST]
    assert worse[SUCCESS] == good[SUCCESS]


def test_a_server_that_was_not_reached_is_no_success_whatever_its_severity() -> None:
    lenient = RuleSet({"unreachable": Severity.OFF})
    found = make_report([target_facts(DATABASE, UNREACHABLE)], lenient)
    assert found.verdict is Severity.OFF
    assert not found.is_success


@pytest.mark.parametrize("text", [f"{SUCCESS} soon", f"{SUCCESS} inf", f"{SUCCESS} -1", "\0", f"{SUCCESS} "])
def test_a_file_that_says_no_time_says_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tls.prom"
    file.write_text(text)
    assert set(run(file, report(UNREACHABLE))) == {LAST}


def test_a_file_is_for_everybody_to_read_whatever_the_umask(tmp_path: Path) -> None:
    file = tmp_path / "tls.prom"
    before = os.umask(0o077)
    try:
        run(file, report(DATABASE))
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_there_are_no_metrics_before_the_first_run() -> None:
    assert scrape(TlsMetrics()) == ""


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    write_whole(file, b"one")
    write_whole(file, b"two")
    assert file.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("place", ["missing/report.html", "."])
def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path, place: str) -> None:
    (tmp_path / "sub").mkdir()
    with raising(CannotCreate, TlsCheckReason.OUTPUT):
        write_whole(tmp_path / "sub" / place if place != "." else tmp_path / "sub", b"one")
    assert list(tmp_path.iterdir()) == [tmp_path / "sub"]


def scrape(metrics: TlsMetrics) -> str:
    from prometheus_client.exposition import generate_latest

    return generate_latest(metrics.registry).decode()
