"""Which test files come first, so that no process begins the longest one when the others are done.

With `--dist loadfile` a file is the work of one process. pytest would begin the longest ones, which are
integration tests, in the middle of the run, and the processes would end minutes apart.
"""

from collections.abc import Sequence
from typing import Any, Final

LONGEST: Final = (
    "integration/test_differential_moving.py",
    "integration/test_differential_sequences.py",
    "integration/test_contexts_differential_moving.py",
    "integration/test_differential_malformed.py",
    "integration/test_erase.py",
    "integration/migrate/test_classes.py",
    "integration/test_one_collection.py",
    "demo/test_demo_backup.py",
    "demo/test_demo_command.py",
    "integration/test_vault_proxy.py",
    "integration/test_backup_commands.py",
    "proxy/server/test_workers.py",
    "integration/test_backup_round_trip.py",
    "integration/migrate/test_plaintext.py",
    "integration/test_queries.py",
    "integration/test_erase_page.py",
    "integration/test_contexts_beside.py",
    "integration/test_compliance_page.py",
    "integration/test_contexts.py",
    "integration/test_luks_images.py",
    "integration/test_alerts_page.py",
    "integration/test_coverage_command.py",
    "proxy/server/audit_writer/test_keeper.py",
    "integration/test_faults.py",
    "integration/migrate/test_jobs.py",
    "integration/test_backup_dump.py",
    "integration/migrate/test_values.py",
    "integration/test_install_page.py",
    "integration/contexts_in_vault/test_starting.py",
    "integration/test_joins.py",
    "integration/test_backup_interrupted.py",
    "integration/test_clinic_https.py",
    "integration/test_vault_setup.py",
    "integration/test_differential.py",
    "integration/test_vault_path.py",
    "integration/test_luks_page.py",
    "integration/contexts_in_vault/test_store.py",
    "integration/test_admin_page.py",
    "integration/test_tls_verify.py",
    "sidecars/migration/windows/test_turn.py",
    "proxy/session/test_properties.py",
    "test_packaging.py",
    "test_monitoring.py",
    "test_glossary.py",
    "test_docs_site.py",
)
"""Below `tests`, by what each takes; `pytest --durations=0` says that. The others take less than 20 s."""


def longest_first(tests: Sequence[Any], folder: str) -> list[Any]:
    """The tests below `folder`, file by file, those of the longest files first."""
    places = {f"{folder}/{name}": place for place, name in enumerate(LONGEST)}
    return sorted(tests, key=lambda test: places.get(str(test.path), len(places)))
