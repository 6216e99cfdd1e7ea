"""Which test files come first, so that no process begins the longest one when the others are done.

With `--dist loadfile` a file is the work of one process. pytest would begin the longest ones, which are
integration tests, in the middle of the run, and the processes would end minutes apart.
"""

from collections.abc import Sequence
from typing import Any, Final

LONGEST: Final = (
    "sidecars/detection/test_weeks.py",
    "integration/test_differential_moving.py",
    "integration/test_queries.py",
    "integration/test_admin_page.py",
    "integration/test_backup_commands.py",
    "demo/test_demo_backup.py",
    "demo/test_demo_command.py",
    "integration/migrate/test_classes.py",
    "integration/test_differential_sequences.py",
    "policies/test_taint.py",
    "proxy/session/test_contexts.py",
    "integration/test_sorting.py",
    "integration/test_asking.py",
    "integration/test_runbooks.py",
    "demo/test_moving_story.py",
    "integration/test_contexts_differential_moving.py",
    "integration/test_one_collection.py",
    "integration/contexts_in_vault/test_store.py",
    "proxy/server/test_workers.py",
    "integration/test_vault_proxy.py",
    "integration/migrate/test_plaintext.py",
    "integration/test_backup_round_trip.py",
    "integration/test_differential_malformed.py",
    "integration/test_erase.py",
    "proxy/server/audit_writer/test_keeper.py",
    "integration/test_compliance_page.py",
    "integration/migrate/test_repair.py",
    "integration/test_backup_dump.py",
    "integration/test_install_page.py",
    "integration/test_vault_roles.py",
    "integration/test_vault_path.py",
    "integration/test_vault_setup.py",
    "integration/test_differential.py",
    "integration/test_joins.py",
    "sidecars/migration/windows/test_turn.py",
    "proxy/session/test_properties.py",
    "test_packaging.py",
    "test_monitoring.py",
    "test_glossary.py",
    "test_docs_site.py",
)
"""Below `tests`, by what each takes; `pytest --durations=0` says that. The others take less than 10 s."""


def longest_first(tests: Sequence[Any], folder: str) -> list[Any]:
    """The tests below `folder`, file by file, those of the longest files first."""
    places = {f"{folder}/{name}": place for place, name in enumerate(LONGEST)}
    return sorted(tests, key=lambda test: places.get(str(test.path), len(places)))
