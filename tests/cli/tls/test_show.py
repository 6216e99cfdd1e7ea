"""A report on the terminal."""

from dataclasses import replace

from sealwire.sidecars.tls_check.connection.stream import Trouble
from sealwire.sidecars.tls_check.facts import EndpointFacts
from tests.cli.tls.runs import shown
from tests.sidecars.tls_check.samples import DATABASE, PRESENTED, WEB, certificate


def test_names_that_servers_chose_are_text_on_the_terminal() -> None:
    odd = replace(PRESENTED, chain=(certificate(subject="[bold red]x[/nonsense]"),), distrust="[link=y]z")
    text = shown(replace(DATABASE, presented=odd))
    assert "[bold red]x[/nonsense]" in text
    assert "[link=y]z" in text


def test_the_name_of_a_rule_is_never_cut_for_rule_takes_it_whole() -> None:
    accepted = replace(
        DATABASE, plaintext=None, presented=replace(PRESENTED, chain=(certificate(must_staple=True),))
    )
    text = shown(accepted, width=40)
    assert "must-staple-missing" in text


def test_quiet_shows_only_what_is_wrong() -> None:
    assert shown(DATABASE, quiet=True) == ""
    broken = shown(DATABASE, EndpointFacts(WEB.endpoint, trouble=Trouble.REFUSED), quiet=True)
    assert "unreachable" in broken
    assert DATABASE.endpoint.label not in broken
    assert DATABASE.endpoint.label in shown(DATABASE)
