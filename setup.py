"""Maps the rooms at the repository root into the `sealwire` package; pyproject.toml holds everything else."""

from setuptools import find_packages, setup

ROOMS = ("wire", "crypto", "keys", "policies", "proxy", "sidecars", "examples")

setup(
    package_dir={"sealwire": "sealwire"} | {f"sealwire.{room}": room for room in ROOMS},
    packages=["sealwire"]
    + [f"sealwire.{sub}" for sub in find_packages("sealwire")]
    + [f"sealwire.{room}" for room in ROOMS]
    + [f"sealwire.{room}.{sub}" for room in ROOMS for sub in find_packages(room)],
)
