"""What reads inputs within larger programs, as programs: records as training reads them, the plan of a run, archives."""

import argparse
from collections.abc import Callable
from pathlib import Path

import yaml


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser()
    options.add_argument("path", type=Path)
    return options


def records(arguments: argparse.Namespace) -> None:
    """All records of a manifest, as training and evaluation read them."""
    from pipeline_lib.data.records import dataset, readable_errors

    data = dataset(arguments.path, height=32, width=32, batch=4, metadata=True)
    with readable_errors():
        for _ in data.as_numpy_iterator():
            pass


def keras(arguments: argparse.Namespace) -> None:
    """Weights of keras.applications, as the ancestor starts from them."""
    from pipeline_lib.nets import pretrained
    from pipeline_lib.nets.registry import Published

    pretrained.inherit_file(str(arguments.path), Published("efficientnet_b0", 64, 64), 1)


def configuration(arguments: argparse.Namespace) -> None:
    """The plan of a Snakemake run with this configuration, as common.smk makes it."""
    from pipeline_lib import plan, window

    raw = yaml.safe_load(arguments.path.read_text(encoding="utf-8"))
    cfg = plan.load(raw, Path())
    window.check(cfg)


def archive(arguments: argparse.Namespace) -> None:
    """An archive that is unpacked."""
    from pipeline_lib.data.unpack import unpack

    unpack(arguments.path, Path("unpacked"), {"inside/a.txt": 1}, Path("work"))


READERS: dict[str, Callable[[argparse.Namespace], None]] = {
    "records": records,
    "keras": keras,
    "configuration": configuration,
    "archive": archive,
}
