"""Compile the training step of a network for a TPU, without one: compile time, memory, operations, the largest batch."""

import argparse
import importlib.metadata
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipeline_lib import cli
from pipeline_lib.config import PAPER_ANCESTOR, PAPER_SPACE, TrainSettings
from pipeline_lib.errors import ConfigError
from pipeline_lib.explain import explain
from pipeline_lib.nets import registry
from pipeline_lib.nets.layers import Network
from pipeline_lib.search import genotype
from pipeline_lib.search.genotype import Nesting
from pipeline_lib.search.space import largest

if TYPE_CHECKING:
    from pipeline_lib.train.ahead import Cost

PACKAGES = ("jax", "libtpu", "keras")
KEYPOINTS = 17
ENVIRONMENT = {
    "KERAS_BACKEND": "jax",
    # The compiler is TPU's; what runs meanwhile (initial weights) is the CPU's, also on a machine that has TPUs.
    "JAX_PLATFORMS": "cpu",
    # Else the TPU's library looks for the machine's metadata server, for minutes.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    # Its lock file is about chips, of which none is used.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def main(arguments: argparse.Namespace) -> None:
    described = network(arguments.genotype, arguments.height, arguments.width)
    try:
        settings = TrainSettings(batch=arguments.batch, precision=arguments.precision)
    except ValidationError as error:
        raise ConfigError(f"--batch: {explain(error)}") from None
    check_packages()
    os.environ.update(ENVIRONMENT)
    from pipeline_lib import artifacts
    from pipeline_lib.train import ahead

    target = ahead.Target(arguments.topology)
    step = ahead.Step(described, settings)
    chips = len(target.devices)
    costs, refusals = [], []
    for count in dict.fromkeys((1, chips) if not arguments.one_chip else (1,)):
        try:
            costs.append(step.cost(target, arguments.batch * count, count))
        except ahead.DoesNotFit as problem:
            refusals.append(f"batch {arguments.batch} a chip on {count} chips does not fit: {problem}")
    searched: dict[str, Any] = {}
    if not arguments.no_search:
        best, refused, why = ahead.largest_batch(
            lambda batch: step.cost(target, batch),
            arguments.batch,
            next((cost for cost in costs if cost.chips == 1), None),
            target.hbm,
        )
        searched = {"largest_batch": best.batch if best else 0, "refused_batch": refused, "refusal": why}
        costs += [best] if best and best not in costs else []
    if arguments.report:
        artifacts.write_json(
            arguments.report,
            {
                "genotype": arguments.genotype,
                "height": described.height,
                "width": described.width,
                "precision": arguments.precision,
                "topology": arguments.topology,
                "device": target.kind,
                "hbm": target.hbm,
                "programs": [asdict(cost) | {"memory": cost.memory} for cost in costs],
                **searched,
                "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
            },
        )
    print(table(costs, target.hbm))
    for line in refusals:
        print(line)
    if searched:
        print(
            f"largest batch of a chip: {searched['largest_batch']} (compiled); "
            f"{searched['refused_batch']} is refused: {searched['refusal']}"
        )
    if refusals:
        raise ConfigError(f"{refusals[0]}; lower BATCH")


def table(costs: "list[Cost]", hbm: int | None) -> str:
    """A row for each program, in GiB and seconds."""
    from pipeline_lib.plots.tables import markdown

    header = ("chips", "batch", "lower (s)", "compile (s)", "arguments", "temporaries", "output, own", "HBM (GiB)")
    rows = [
        (
            str(cost.chips),
            str(cost.batch),
            f"{cost.lower_seconds:.1f}",
            f"{cost.compile_seconds:.0f}",
            *(f"{part / 2**30:.3f}" for part in (cost.arguments, cost.temporaries, cost.output - cost.aliased)),
            f"{cost.memory / 2**30:.2f}" + (f" of {hbm / 2**30:.0f}" if hbm else ""),
            f"{cost.flops / 1e9:.1f}",
            f"{cost.bytes_accessed / 1e9:.2f}",
            str(cost.all_reduces),
        )
        for cost in costs
    ]
    return markdown((*header, "GFLOP a chip", "GB a chip", "all-reduces"), rows)


def network(name: str, height: int, width: int) -> Network:
    """The network that `name` means: `ancestor`, `largest`, a network's name, a weights file, or a genotype as text."""
    from pipeline_lib.nets import files

    if name.endswith(".safetensors"):
        return files.load(name)[0].resized(height, width)
    if name in registry.NAMES:
        return registry.architecture(name, height, width, KEYPOINTS)
    rows: Nesting
    if name in ("ancestor", "largest"):
        rows = PAPER_ANCESTOR if name == "ancestor" else largest(PAPER_ANCESTOR, PAPER_SPACE)
    else:
        rows = genotype.decode_text(name)
    return registry.architecture(rows, height, width, KEYPOINTS)


def check_packages() -> None:
    """Raise `ConfigError` when this environment is not the one of JAX."""
    for package in PACKAGES:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise ConfigError(
                f"{package} is not installed here: make install ACCELERATOR=jax VENV=.venv-jax, then use "
                ".venv-jax/bin/python, or run `make check-tpu`, which does both"
            ) from None


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--genotype",
        required=True,
        help="a network's name, `ancestor`, `largest` (of the paper's space), a weights file, or a genotype such as "
        "1.3.2.1-2.3.3.2-...",
    )
    options.add_argument("--batch", type=cli.positive, default=64, help="persons of one chip (default: 64)")
    options.add_argument("--topology", default="v5e:2x2", help="chips as JAX names them (default: v5e:2x2)")
    options.add_argument("--height", type=cli.positive, default=256, help="of the input in pixels (default: 256)")
    options.add_argument("--width", type=cli.positive, default=192, help="of the input in pixels (default: 192)")
    options.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16", help="default: bfloat16")
    options.add_argument("--one-chip", action="store_true", help="leave the data-parallel program out")
    options.add_argument("--no-search", action="store_true", help="do not look for the largest batch")
    options.add_argument("--report", type=Path, help="output: the numbers (JSON)")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
