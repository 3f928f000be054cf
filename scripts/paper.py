"""Make a table or a figure of the paper from whatever results exist, the paper's values beside them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_lib import cli

if TYPE_CHECKING:
    from pipeline_lib.plots.paper.results import Place

EXPERIMENTS = Path(__file__).resolve().parents[1] / "config" / "experiments"
TABLES = {
    "table_1": "batch sizes: training time and AP",
    "table_2": "the champion of E3 beside EvoPose2D-S",
    "table_3": "size, cost, speed and accuracy of every network",
    "table_4": "the common ancestor",
    "table_5": "compound coefficients",
}
FIGURES = {
    "figure_1": "accuracy over multiply-adds and file size",
    "figure_4": "loss with different batch sizes",
    "figure_5": "convergence of the searches, and everything they tried",
}


def table(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.plots import pages
    from pipeline_lib.plots.paper import table1, table2, table3, table4, table5

    made = {
        "table_1": table1.sheet,
        "table_2": table2.sheet,
        "table_3": table3.sheet,
        "table_4": lambda _: table4.sheet(),
        "table_5": lambda _: table5.sheet(),
    }
    sheet = made[arguments.item](place(arguments))
    text = pages.as_markdown(sheet.title, sheet.parts)
    if arguments.csv:
        artifacts.write_csv(arguments.csv, sheet.rows, sheet.columns)
    if arguments.markdown:
        artifacts.write_text(arguments.markdown, text)
    if arguments.html:
        artifacts.write_text(arguments.html, pages.as_html(sheet.title, sheet.parts))
    print(text, end="")


def figure(arguments: argparse.Namespace) -> None:
    from pipeline_lib.plots import style
    from pipeline_lib.plots.paper import figure1, figure4, figure5

    drawn = {"figure_1": figure1.draw, "figure_4": figure4.draw, "figure_5": figure5.draw}
    style.save(drawn[arguments.item](place(arguments)), arguments.output)


def place(arguments: argparse.Namespace) -> "Place":
    from pipeline_lib.errors import ConfigError
    from pipeline_lib.plots.paper.results import Place

    if not arguments.results.is_dir():
        raise ConfigError(
            f"--results {arguments.results}: no such folder; name the one that the experiments' folders are in"
        )

    return Place(arguments.results, arguments.prefix, arguments.experiments)


def main(arguments: argparse.Namespace) -> None:
    arguments.make(arguments)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    items = options.add_subparsers(title="tables and figures", metavar="ITEM", dest="item", required=True)

    def item(name: str, make: object, text: str) -> argparse.ArgumentParser:
        added = items.add_parser(name, help=text, description=f"{name.replace('_', ' ').capitalize()}: {text}.")
        added.set_defaults(make=make)
        added.add_argument("--results", type=Path, default=Path("results"), help="folder of all results (%(default)s)")
        added.add_argument("--prefix", default="", help="before the experiments' names there, such as smoke_")
        added.add_argument(
            "--experiments", type=Path, default=EXPERIMENTS, help="folder of their configurations (this checkout's)"
        )
        return added

    for name, text in TABLES.items():
        added = item(name, table, text)
        added.add_argument("--csv", type=Path, help="output: the table, unrounded (CSV)")
        added.add_argument("--markdown", type=Path, help="output: the table as printed here (Markdown)")
        added.add_argument("--html", type=Path, help="output: the table as a page for the report")
    for name, text in FIGURES.items():
        added = item(name, figure, text)
        added.add_argument("--output", type=Path, required=True, help="output: the figure, SVG or PNG by its name")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
