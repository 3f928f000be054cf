"""Draw a figure of the report."""

import argparse
import dataclasses
from pathlib import Path

from pipeline_lib import cli, remote


def fitness(arguments: argparse.Namespace) -> None:
    from pipeline_lib.plots import fitness, style, tables

    style.save(fitness.draw(tables.read_populations(arguments.populations)), arguments.output)


def pareto(arguments: argparse.Namespace) -> None:
    from pipeline_lib.plots import pareto, style, tables
    from pipeline_lib.search.population import Champion, read

    champion = read(Champion, arguments.champion).origin
    everyone = tables.everyone(tables.read_populations(arguments.populations))
    style.save(pareto.draw(everyone, (champion.generation, champion.child)), arguments.output)


def curves(arguments: argparse.Namespace) -> None:
    from pipeline_lib.errors import ConfigError
    from pipeline_lib.plots import curves, style, tables

    labels = arguments.labels or [path.parent.name for path in arguments.histories]
    if len(set(labels)) != len(arguments.histories) or len(labels) != len(arguments.histories):
        raise ConfigError(f"--labels: a different one for each of the {len(arguments.histories)} histories is expected")
    histories = {label: tables.read_history(path) for label, path in zip(labels, arguments.histories, strict=True)}
    style.save(curves.draw(histories, arguments.title), arguments.output)


def comparison(arguments: argparse.Namespace) -> None:
    from pipeline_lib.plots import comparison, style, tables

    rows = tables.read_comparison(arguments.table)
    style.save(comparison.draw(rows), arguments.output)
    print(comparison.summary_text(rows))


def overlays(arguments: argparse.Namespace) -> None:
    from pipeline_lib.config import KeypointSchema
    from pipeline_lib.data import coco_json, verdict
    from pipeline_lib.errors import about
    from pipeline_lib.evaluate import coco, results
    from pipeline_lib.plots import overlays

    schema = cli.settings(KeypointSchema, arguments.keypoints, "--keypoints")
    validated = verdict.read(arguments.validation) if arguments.validation else None
    content = verdict.read_content(arguments.annotations, validated)
    with about(arguments.annotations):
        truth = coco.truth(content, len(schema.names))
        for place, annotation in enumerate(truth["annotations"]):
            coco_json.integer_of(annotation, "id", f"annotations[{place}]")
        images = {
            image["id"]: coco_json.image_path(arguments.images, image, f"images[{place}]")
            for place, image in enumerate(truth["images"])
        }
    predictions = results.read(arguments.predictions)
    with about(arguments.predictions):
        people = overlays.persons(truth["annotations"], predictions, schema.sigmas)
    chosen, upright = overlays.choose(people, arguments.number), validated.upright if validated else ()
    drawn = overlays.sheet(chosen, images, schema, arguments.title, upright)
    overlays.save(drawn, arguments.output)


def architecture(arguments: argparse.Namespace) -> None:
    from pipeline_lib.errors import ConfigError
    from pipeline_lib.nets import files
    from pipeline_lib.plots import architecture, style

    if len(set(arguments.labels)) != len(arguments.weights) or len(arguments.labels) != len(arguments.weights):
        raise ConfigError(f"--labels: a different one for each of the {len(arguments.weights)} networks is expected")
    networks = dict(zip(arguments.labels, map(files.load_architecture, arguments.weights), strict=True))
    if arguments.ancestor is not None:
        of_champion = next(iter(networks.values()))
        networks = {"ancestor": dataclasses.replace(of_champion, genotype=arguments.ancestor), **networks}
    style.save(architecture.draw(networks), arguments.output)


def metrics(arguments: argparse.Namespace) -> None:
    from pipeline_lib.plots import metrics, style, summary

    rows = summary.read_metrics([*arguments.metrics, *arguments.baselines])
    baselines = summary.read_metrics(arguments.baselines)
    style.save(
        metrics.draw({row.label: row.metrics for row in rows}, [row.label for row in baselines]), arguments.output
    )


def main(arguments: argparse.Namespace) -> None:
    arguments.draw(arguments)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    figures = options.add_subparsers(title="figures", metavar="FIGURE", required=True)

    def figure(name: str, draw: object, text: str, output: str = "SVG or PNG") -> argparse.ArgumentParser:
        added = figures.add_parser(name, help=text, description=f"Draw the {text}.")
        added.set_defaults(draw=draw)
        added.add_argument("--output", type=Path, required=True, help=f"output: the figure, {output} by its name")
        return added

    def populations(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "--populations", type=Path, nargs="+", required=True, help="population.csv of every generation"
        )

    populations(figure("fitness", fitness, "best fitness and its validation loss per generation"))

    added = figure("pareto", pareto, "validation loss over parameters of all networks of a search")
    populations(added)
    added.add_argument("--champion", type=Path, required=True, help="champion.json")

    added = figure("curves", curves, "training curves of one or several trainings")
    added.add_argument("--histories", type=Path, nargs="+", required=True, help="history.csv of every training")
    added.add_argument("--labels", nargs="+", help="a name for each (default: the folder it lies in)")
    added.add_argument("--title", default="", help="title of the figure")

    added = figure(
        "comparison", comparison, "comparison of weight transfer with training from scratch; table on stdout"
    )
    added.add_argument("--table", type=Path, required=True, help="comparison.csv")

    added = figure("overlays", overlays, "predictions on images beside the ground truth", "PNG or JPEG")
    added.add_argument("--annotations", type=cli.data_file, required=True, help="COCO keypoint annotations (JSON)")
    added.add_argument("--validation", type=Path, help="what the validation said of them (JSON)")
    added.add_argument("--predictions", type=Path, required=True, help="COCO keypoint result list (JSON)")
    added.add_argument("--images", type=remote.place, required=True, help="folder of the images")
    added.add_argument("--keypoints", required=True, help="the data set's keypoints as JSON: names, sigmas, ...")
    added.add_argument("--number", type=cli.positive, default=12, help="persons to draw (default: %(default)s)")
    added.add_argument("--title", default="", help="title of the sheet")

    added = figure("architecture", architecture, "genotypes of networks side by side")
    added.add_argument(
        "--weights", type=Path, nargs="+", required=True, help="weights files; the first is compared with"
    )
    added.add_argument("--labels", nargs="+", required=True, help="a name for each")
    added.add_argument(
        "--ancestor",
        type=cli.genotype,
        help="genotype as JSON, drawn before them as a network of the first one's space",
    )

    added = figure("metrics", metrics, "COCO metrics of the final networks beside the mean pose")
    added.add_argument("--metrics", type=Path, nargs="+", required=True, help="<network>/metrics_<boxes>.json")
    added.add_argument("--baselines", type=Path, nargs="*", default=[], help="the same of the mean pose, drawn in grey")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
