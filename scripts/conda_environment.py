"""Write the conda environment of the rules: the lock's pins, for `snakemake --software-deployment-method conda`."""

import argparse
import re
from pathlib import Path

from pipeline_lib import cli

HEADER = "# Generated from envs/lock.txt by `make lock`; a test keeps them equal.\n"


def environment(lock: str) -> str:
    """The conda environment file of a requirements lock: its pins with their markers, without the hashes."""
    pins = re.findall(r"^([a-z0-9][^\s;\\]*)(?:\s*;\s*([^\\\n]+?))?\s*\\?$", lock, flags=re.MULTILINE)
    lines = [f"      - {name}" + (f" ; {marker}" if marker else "") for name, marker in pins]
    return HEADER + "\n".join(
        [
            "channels:",
            "  - conda-forge",
            "  - nodefaults",
            "dependencies:",
            "  - python >=3.11,<3.14",
            "  - pip",
            "  - pip:",
            *lines,
            "",
        ]
    )


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts

    artifacts.write_text(arguments.output, environment(Path(arguments.lock).read_text(encoding="utf-8")))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--lock", required=True, help="requirements lock (envs/lock.txt)")
    options.add_argument("--output", required=True, help="output: conda environment file")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
