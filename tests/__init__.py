"""Tests, by room: `tests/<room>/test_<module>.py` mirrors the package."""
