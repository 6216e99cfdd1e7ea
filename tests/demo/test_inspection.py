"""The search in files finds every covered text, wherever it lies, and nothing else."""

from pathlib import Path

import pytest

from sealwire.demo import inspection as file_scan
from sealwire.demo.inspection import Scan, covered_texts, scan_folder, total
from sealwire.demo.stage import make_dataset

NUMBER = b"9991234560"
TEXTS = frozenset({NUMBER, b"MRN0000042", b"ZZ9 1AA", b"07700900123", b"Seen by Dr Patel"})


def scanned(folder: Path, content: bytes) -> Scan:
    (folder / "storage").mkdir()
    (folder / "storage" / "log").write_bytes(content)
    return scan_folder(folder, TEXTS)


@pytest.mark.parametrize("text", sorted(TEXTS))
def test_each_kind_of_text_is_found_between_binary(tmp_path: Path, text: bytes) -> None:
    content = b"\0\xff" + text + b"\0" + text + b"\xfe"
    assert scanned(tmp_path, content) == Scan(1, len(content), 2)


def test_a_number_inside_a_longer_run_of_digits_is_found(tmp_path: Path) -> None:
    assert scanned(tmp_path, b"99" + NUMBER + b"7").hits == 1


def test_texts_of_nobody_do_not_count(tmp_path: Path) -> None:
    assert scanned(tmp_path, b"9990000018 MRN0000043 ZZ9 1AB 07700900124 Seen by Dr Jones").hits == 0


@pytest.mark.parametrize("offset", [-10, -9, -5, -1, 0, 1])
@pytest.mark.parametrize("after", [0, 5, 300])
def test_a_text_across_the_edge_of_two_pieces_is_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int, after: int
) -> None:
    monkeypatch.setattr(file_scan, "_CHUNK_BYTES", 256)
    for edge in (256, 512):
        folder = tmp_path / str(edge)
        folder.mkdir()
        assert scanned(folder, b"." * (edge + offset) + NUMBER + b"." * after).hits == 1


def test_an_empty_folder_and_an_empty_file_hold_nothing(tmp_path: Path) -> None:
    assert scan_folder(tmp_path, TEXTS) == Scan(0, 0, 0)
    assert scanned(tmp_path, b"") == Scan(1, 0, 0)


def test_several_scans_add_up() -> None:
    assert total([Scan(1, 10, 2), Scan(3, 5, 0)]) == Scan(4, 15, 2)


def test_the_covered_texts_are_in_the_application_s_own_files(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, 200, 1)
    texts = covered_texts(dataset)
    patient = dataset.patients[0]
    assert patient["nhs_number"].encode() in texts
    assert patient["contacts"][0]["phone"].encode() in texts
    assert not any(patient["ward"].encode() == text for text in texts)
    found = scan_folder(tmp_path, texts)
    # At least NHS number, MRN and telephone of every patient and the number of every appointment.
    assert found.hits >= 3 * 200 + 100
