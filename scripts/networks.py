"""Parameters, multiply-adds and file size of networks beside the paper's values, and where the paper contradicts itself."""

import argparse
from pathlib import Path

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.errors import ConfigError
    from pipeline_lib.plots import networks

    if (arguments.height is None) != (arguments.width is None):
        raise ConfigError("--height and --width: both or none are expected")
    size = None if arguments.height is None else (arguments.height, arguments.width)
    everything = not arguments.names and not arguments.genotype
    names = networks.NAMES if everything else arguments.names
    rows = [row for name in names for row in networks.named(name, size)]
    rows += [networks.of_genotype(text, size) for text in arguments.genotype]
    notes = networks.notes(rows, general=everything)
    if arguments.csv:
        artifacts.write_csv(arguments.csv, networks.as_csv(rows, notes), networks.COLUMNS)
    if arguments.tensors:
        artifacts.write_csv(arguments.tensors, networks.tensors_of(names, size), networks.TENSOR_COLUMNS)
    print(networks.as_text(rows, notes))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", help="names of networks, such as evopose2d_s (default: all)")
    options.add_argument(
        "--genotype", nargs="+", default=[], help="genotypes of the paper's space, such as 1.3.2.1-2.3.3.2-..."
    )
    options.add_argument("--height", type=cli.positive, help="input height in pixels (default: every size of Table 3)")
    options.add_argument("--width", type=cli.positive, help="input width in pixels (default: every size of Table 3)")
    options.add_argument("--csv", type=Path, help="output: the table, unrounded (CSV)")
    options.add_argument("--tensors", type=Path, help="output: names, kinds and shapes of the networks' tensors (CSV)")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
