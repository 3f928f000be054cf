"""Compare generation 1 with weight transfer, from scratch, and with its ancestor trained on for as many steps."""

import argparse

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.errors import about
    from pipeline_lib.search import comparison, population

    children = population.read(population.Children, arguments.children)
    inherited = [comparison.inherited(path) for path in arguments.inheritance]
    transferred, scratch = (
        [population.read_history(path) for path in paths] for paths in (arguments.transferred, arguments.scratch)
    )
    control = population.read_history(arguments.control)
    with about(arguments.children):
        rows = comparison.rows(children, inherited, transferred, scratch, control)
    artifacts.write_csv(arguments.table, rows, comparison.COLUMNS)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--children", required=True, help="children.json of generation 1")
    options.add_argument("--inheritance", nargs="+", required=True, help="inheritance.json of every child")
    options.add_argument("--transferred", nargs="+", required=True, help="history.csv of every child")
    options.add_argument("--scratch", nargs="+", required=True, help="history.csv of every child's twin from scratch")
    options.add_argument("--control", required=True, help="history.csv of the ancestor that was trained on")
    options.add_argument("--table", required=True, help="output: comparison.csv")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
