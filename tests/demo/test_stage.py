"""Tests for sealwire.demo.stage."""

import os
from pathlib import Path

import pytest

from sealwire.demo.stage import DemoOperator, StepFailed, write_asking_policy
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import leaves


def test_names_and_dates_of_birth_are_asked_for(tmp_path: Path) -> None:
    policy = load_policy(write_asking_policy(tmp_path).read_bytes(), "policy.yaml")
    asking = [
        leaf.path for leaf in leaves(policy.collections["clinic.patients"]) if leaf.leaf and leaf.leaf.asks
    ]
    assert asking == ["name", "date_of_birth"]


def test_commands_are_shown_as_one_would_type_them() -> None:
    operator = DemoOperator(os.environ, {"/srv/demo/": ""})
    assert operator.run("--version").startswith("sealwire, version")
    with pytest.raises(StepFailed) as failed:
        operator.run("compliance", "verify", "/srv/demo/no-report")
    assert failed.value.exit_code == 2
    assert operator.typed() == ("sealwire --version", "sealwire compliance verify no-report")
    assert operator.typed() == ()


def test_a_failure_says_the_error_and_not_its_hint() -> None:
    operator = DemoOperator(os.environ, {})
    with pytest.raises(StepFailed) as failed:
        operator.run("watch", "/nowhere/alerts.yaml", "--check")
    assert failed.value.said.startswith("/nowhere/alerts.yaml")
    assert operator.run("watch", "/nowhere/alerts.yaml", "--check", codes=(78,)) == ""


def test_what_is_printed_for_programs_is_read() -> None:
    assert DemoOperator(os.environ, {}).ask("tls", "rules")
