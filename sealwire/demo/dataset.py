"""The patients and appointments of one run, in memory and as the files that the application reads."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sealwire.examples.patients import (
    Appointment,
    Patient,
    generate_appointments,
    generate_patients,
    write_lines,
)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Both runs of the application read the same two files."""

    patients: tuple[Patient, ...]
    appointments: tuple[Appointment, ...]
    patients_file: Path
    appointments_file: Path


def make_dataset(folder: Path, patients: int, seed: int) -> Dataset:
    """Invent `patients` patients and half as many appointments and write them to `folder`.

    Cost:    0.3 s for 5,000 patients
    """
    folder.mkdir(parents=True, exist_ok=True)
    people = tuple(islice(generate_patients(seed), patients))
    booked = tuple(generate_appointments(seed, people, patients // 2))
    dataset = Dataset(people, booked, folder / "patients.jsonl", folder / "appointments.jsonl")
    dataset.patients_file.write_text("".join(write_lines(people)))
    dataset.appointments_file.write_text("".join(write_lines(booked)))
    return dataset
