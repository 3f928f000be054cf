"""Print the summary of a run: search, weight transfer, champion, metrics of the final networks, and where files lie."""

import argparse
from pathlib import Path

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.data import verdict
    from pipeline_lib.plots import summary, tables
    from pipeline_lib.search.population import Champion, read

    run = summary.Run(
        experiment=arguments.experiment,
        pools=tables.read_populations(arguments.populations),
        champion=read(Champion, arguments.champion) if arguments.champion else None,
        fitness=arguments.fitness,
        settings=arguments.settings,
        validation={path.stem: verdict.read(path) for path in arguments.validation},
        metrics=summary.read_metrics(arguments.metrics),
        baselines=summary.read_metrics(arguments.baselines),
        compared=tables.read_comparison(arguments.comparison) if arguments.comparison else (),
        places=dict(arguments.place),
    )
    text = summary.as_markdown(run)
    if arguments.markdown:
        artifacts.write_text(arguments.markdown, text)
    if arguments.json:
        artifacts.write_json(arguments.json, summary.as_json(run))
    if arguments.html:
        artifacts.write_text(arguments.html, summary.as_html(run))
    print(text, end="")


def place(text: str) -> tuple[str, str]:
    what, separator, where = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"WHAT=WHERE is expected, not {text}")
    return what, where


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--experiment", required=True, help="its name, the title of the summary")
    options.add_argument("--populations", nargs="*", default=[], help="population.csv of every generation of a search")
    options.add_argument("--champion", nargs="?", help="champion.json of the search")
    options.add_argument(
        "--fitness",
        nargs="?",
        default="",
        const="",
        help="what its fitness was measured on, for the part on the search",
    )
    options.add_argument(
        "--settings", type=cli.json_value, default="{}", help="JSON of what the results have to be read with"
    )
    options.add_argument(
        "--validation", nargs="*", type=Path, default=[], help="<split>.json of the validation of the data"
    )
    options.add_argument("--metrics", nargs="+", required=True, help="<network>/metrics_<boxes>.json of final networks")
    options.add_argument("--baselines", nargs="*", default=[], help="the same of the mean pose")
    options.add_argument("--comparison", nargs="?", help="comparison.csv, if generation 1 was compared")
    options.add_argument(
        "--place", nargs="*", type=place, default=[], metavar="WHAT=WHERE", help="where files lie, for the last part"
    )
    options.add_argument("--markdown", type=Path, help="output: the summary as Markdown")
    options.add_argument("--json", type=Path, help="output: its numbers as JSON")
    options.add_argument("--html", type=Path, help="output: the summary as a page for the report")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
