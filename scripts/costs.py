"""What a run was estimated to take (scripts/plan.py) beside what its trainings took: a table and a page for the report."""

import argparse
from pathlib import Path

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.plots import pages
    from pipeline_lib.price import spent, text
    from pipeline_lib.price.estimate import Estimate

    planned = Estimate.read(arguments.plan)
    rows = text.spending(planned, spent.spent(arguments.results, arguments.benchmarks))
    artifacts.write_csv(arguments.csv, rows, text.COLUMNS)
    title, page = f"Estimated and spent: {planned.experiment}", text.spent_page(planned, rows)
    artifacts.write_text(arguments.html, pages.as_html(title, page))
    print(pages.as_markdown(title, page))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--plan", type=Path, required=True, help="plan.json of scripts/plan.py")
    options.add_argument("--results", type=Path, required=True, help="results/<experiment>, with histories")
    options.add_argument("--benchmarks", type=Path, required=True, help="benchmarks/<experiment>, may be missing")
    options.add_argument("--csv", type=Path, required=True, help="output: the table")
    options.add_argument("--html", type=Path, required=True, help="output: the page")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
