"""Documents and weights that were changed after others were made from them: they are read before any job is.

Snakemake would make again what is made from them, and deletes it before: of an input that is damaged nothing may be lost.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts import read_document
from pipeline_lib.config import Config
from pipeline_lib.errors import CONVERT_AGAIN, ArtifactError
from pipeline_lib.nets import files
from pipeline_lib.nets.spec import Architecture
from pipeline_lib.plan import number
from pipeline_lib.search import population
from pipeline_lib.search.genotype import Nesting, encode, key

Read = Callable[[Path], object]


FORCING = ("-R", "--forcerun", "-f", "--force", "-F", "--forceall")
"""Options of Snakemake by which files are made again on purpose, the damaged ones as a rule."""


def check(cfg: Config, words: Collection[str] = (), folder: Path = Path()) -> None:
    """Raise `ArtifactError` for the first one that is damaged, or that is another network's.

    `words` are those of the command line: what is to be made again is not looked at.
    """
    if not set(FORCING).isdisjoint(words):
        return
    results = folder / f"results/{cfg.folder}"
    records = folder / f"results/data/{cfg.dataset.name}"
    # Of generations that are given, times say nothing: nothing is made again because of them.
    first = cfg.first_generation
    last = cfg.search.generations if cfg.only is None else cfg.only.generation
    searched = _sources(results, first, last) if cfg.search.enabled else ()
    for path, made, read in (*_manifests(records, results), *searched, *_models(results)):
        if path.is_file() and _is_newer(path, made):
            read(path)


def _is_newer(path: Path, made: Iterable[Path]) -> bool:
    changed = path.stat().st_mtime_ns
    return any(one.is_file() and one.stat().st_mtime_ns < changed for one in made)


def _manifests(records: Path, results: Path) -> Iterator[tuple[Path, list[Path], Read]]:
    def read(path: Path) -> None:
        from pipeline_lib.data.records import read_manifest  # seldom needed, and slow to load

        try:
            read_manifest(path)
        except ArtifactError as error:
            # With it nothing is converted again, since it is found here again.
            raise ArtifactError(str(error).replace(CONVERT_AGAIN, f"delete {path} and run again")) from None

    trained = [*results.glob("search/gen_*/*/weights.safetensors"), *results.glob("models/*/weights.safetensors")]
    for path in sorted(records.glob("*/*/manifest.json")):
        yield path, trained, read


def _sources(results: Path, first: int, last: int) -> Iterator[tuple[Path, list[Path], Read]]:
    """(file, what is made from it, how it is read), in the order in which they are made, of these generations."""
    for generation in range(first, last + 1):
        place, later = (results / f"search/gen_{number(one)}" for one in (generation, generation + 1))
        if not place.is_dir():
            break
        born = sorted(place.glob("child_*"))
        children = later / "children.json"
        champion = [results / "champion.json"] if generation == last else []
        yield place / "children.json", [one / "initial.safetensors" for one in born], _document(population.Children)
        yield place / "genotypes.csv", [children], population.read_genotypes
        for one in born:
            weights, score = one / "weights.safetensors", one / "score.json"
            yield one / "initial.safetensors", [weights], _weights_of_child(place / "children.json")
            yield weights, [score], _weights_of_child(place / "children.json")
            yield one / "history.csv", [score], population.read_history
            yield score, [place / "population.csv"], _score_of_child(place / "children.json")
        yield place / "population.csv", [results / "summary.json"], population.read_pool
        yield place / "parents.json", [children, later / "population.csv", *champion], _document(population.Parents)
        of_next = [one / "initial.safetensors" for one in later.glob("child_*")]
        for path in sorted((place / "parents").glob("*.safetensors")):
            yield path, [*of_next, *champion], _weights_of_parent(place / "parents.json")
    scaled = list(results.glob("models/*/initial.safetensors"))
    yield results / "champion.json", [results / "summary.json"], _document(population.Champion)
    yield results / "champion.safetensors", scaled, _weights_of_champion(results / "champion.json")


def _models(results: Path) -> Iterator[tuple[Path, list[Path], Read]]:
    """The weights of the final networks, by which they are trained and predict."""
    for place in sorted(results.glob("models/*")):
        weights = place / "weights.safetensors"
        yield place / "initial.safetensors", [weights], _scaled(place / "model.json")
        yield weights, [*place.glob("predictions_*.json"), place / "latency.json"], _trained


def _document(model: type[population.Document]) -> Read:
    return lambda path: population.read(model, path)


def _weights_of_child(children: Path) -> Read:
    def read(path: Path) -> None:
        if children.is_file():
            child = population.read(population.Children, children).member(path.parent.name)
            _check_weights(path, child.genotype, f"{path.parent.name} in {children}")

    return read


def _score_of_child(children: Path) -> Read:
    def read(path: Path) -> None:
        score = population.read(population.Score, path)
        if children.is_file():
            own = population.read(population.Children, children).member(path.parent.name).genotype
            if score.genotype != own:
                raise ArtifactError(
                    f"{path}: the score of {encode(score.genotype)}, but {path.parent.name} in {children} is {encode(own)}; put "
                    "its own there, or delete this file and run again"
                )

    return read


def _weights_of_parent(parents: Path) -> Read:
    def read(path: Path) -> None:
        if not parents.is_file():
            return
        ranked = population.read(population.Parents, parents).parents
        own = [one for one in ranked if str(one.rank) == path.stem]
        if own:
            _check_weights(path, own[0].genotype, f"rank {path.stem} in {parents}")

    return read


def _scaled(model: Path) -> Read:
    def read(path: Path) -> None:
        network, _ = files.load(path)
        if not model.is_file() or not _is_newer(path, [model]):  # which is written after the weights that it describes
            return
        said = read_document(model)
        found: dict[str, Any] = {"height": network.height, "width": network.width}
        if isinstance(network, Architecture):
            found |= {
                "genotype": network.genotype,
                "depth_coefficient": network.scale[0],
                "width_coefficient": network.scale[1],
            }
        if any(said.get(name) != value for name, value in json.loads(json.dumps(found)).items()):
            raise ArtifactError(
                f"{path}: weights of another network than {model} describes; put its own there, or delete this file and run again"
            )

    return read


def _trained(path: Path) -> None:
    network, _ = files.load(path)
    initial = path.with_name("initial.safetensors")
    # Newer ones are those of a changed configuration, with which these weights will be made again.
    if initial.is_file() and not _is_newer(initial, [path]) and files.load_network(initial) != network:
        raise ArtifactError(
            f"{path}: weights of another network than those that it was trained from, {initial}; put its own there, or delete this "
            "file and run again"
        )


def _weights_of_champion(champion: Path) -> Read:
    def read(path: Path) -> None:
        if not champion.is_file():
            files.load_searched(path)
            return
        _check_weights(path, population.read(population.Champion, champion).genotype, f"the champion in {champion}")

    return read


def _check_weights(path: Path, genotype: Nesting, what: str) -> None:
    found, _ = files.load_searched(path)
    if found.genotype != key(genotype):
        raise ArtifactError(
            f"{path}: weights of {encode(found.genotype)}, but {what} is {encode(genotype)}; put its own there, or delete "
            "this file and run again"
        )
