"""How the steps of a set-up look, on a terminal and for programs."""

from collections.abc import Mapping, Sequence

from rich.console import Console

from sealwire.cli.output import print_json, show_table
from sealwire.sidecars.vault_setup.resource import Difference
from sealwire.sidecars.vault_setup.step import State, Step

_SHORT = 40


def show_outcome(steps: Sequence[Step], more: Mapping[str, object], *, as_json: bool) -> None:
    """The steps; for programs `more` as well."""
    if as_json:
        print_json({**more, "steps": [_step_row(step) for step in steps]})
    else:
        show_steps(steps, Console(markup=False))


def show_steps(steps: Sequence[Step], console: Console) -> None:
    """A line a step, and what is left for an operator."""
    rows = (
        (step.kind.value, step.name, step.state.value, "\n".join(map(_in_short, step.differences)))
        for step in steps
    )
    show_table(("what", "name", "state", "differs in"), rows, console)
    for step in steps:
        if step.state is State.BY_HAND:
            console.print(f"{step.kind.value} {step.name}: {step.advice}")


def _in_short(difference: Difference) -> str:
    """The field, and what it is and should be where that is short; a policy is for `--json`."""
    found, wanted = str(difference.found), str(difference.wanted)
    if max(len(found), len(wanted)) > _SHORT:
        return difference.field
    return f"{difference.field}: {found}, wanted {wanted}"


def _step_row(step: Step) -> dict[str, object]:
    return {
        "kind": step.kind.value,
        "name": step.name,
        "state": step.state.value,
        "differences": [
            {"field": each.field, "wanted": _plain(each.wanted), "found": _plain(each.found)}
            for each in step.differences
        ],
        "advice": step.advice if step.state is State.BY_HAND else "",
        "request": step.request and {"path": step.request.path, "body": dict(step.request.body)},
    }


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | list | dict) else str(value)
