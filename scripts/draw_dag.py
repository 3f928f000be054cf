"""Draw the workflow: its rule graph and the DAG of a small search, as mermaid text and, where `dot` is, as SVG."""

import argparse
import logging
import shutil
import subprocess
import sys
from pathlib import Path

from pipeline_lib import cli

log = logging.getLogger(__name__)

# A search that is small enough to be looked at.
SMALL = ["search={generations: 1, children: 2, parents: 1, compare_scratch: false}"]


def draw(kind: str, config: list[str], output: Path) -> None:
    """Write `output`.mmd, and `output`.svg when graphviz's `dot` is installed."""
    from pipeline_lib import artifacts

    command = [sys.executable, "-m", "snakemake", f"--{kind}"]
    options = ["--forceall", *(["--config", *config] if config else [])]
    mermaid = _stdout([*command, "mermaid-js", *options])
    artifacts.write_text(output.with_suffix(".mmd"), mermaid)
    log.info("%s", output.with_suffix(".mmd"))
    if dot := shutil.which("dot"):
        graph = _stdout([*command, "dot", *options])
        artifacts.write_text(output.with_suffix(".svg"), _stdout([dot, "-Tsvg"], graph))
        log.info("%s", output.with_suffix(".svg"))


def _stdout(command: list[str], text: str | None = None) -> str:
    from pipeline_lib.errors import EvoPoseError

    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EvoPoseError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def main(arguments: argparse.Namespace) -> None:
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)  # before Snakemake takes its seconds
    draw("rulegraph", [], folder / "rulegraph")
    draw("dag", SMALL, folder / "dag")
    if not shutil.which("dot"):
        log.info("graphviz's `dot` is not installed: no SVG; the .mmd files show in any Markdown viewer with mermaid")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--output", required=True, help="folder of the pictures")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
