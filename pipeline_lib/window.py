"""Which part of a search a run makes, where it ends, and what is given: generations before it, or another search's.

Paths are those of a run in `folder`, the current one unless told otherwise.
"""

import functools
import logging
import math
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline_lib.config import Config
from pipeline_lib.errors import ArtifactError, ConfigError
from pipeline_lib.plan import number
from pipeline_lib.search import convergence, population
from pipeline_lib.search.fitness import fitness

log = logging.getLogger(__name__)

NOTHING = r"(?!)"
"""Matches no wildcard."""
DECIDED = "decided"
"""The mark in a generation's folder that a search with `convergence` has looked at it."""


class End(NamedTuple):
    """The last generation of a search. `open`: it may turn out not to be, which is decided when it is finished."""

    generation: int
    open: bool


def is_narrowed(cfg: Config) -> bool:
    """Whether the run makes a part of the search only."""
    return cfg.first_generation > 0 or cfg.only is not None


def makes(cfg: Config, generation: int) -> bool:
    """Whether the run makes this generation's files."""
    last = cfg.search.generations if cfg.only is None else cfg.only.generation
    return cfg.search.enabled and cfg.first_generation <= generation <= last


def generations(cfg: Config, first: int = 0) -> str:
    """A regular expression of the generations, as paths have them, that the run makes, from `first` on.

    Snakemake asks no rule for what lies before: there it takes the files that it finds.
    """
    if cfg.only is None:
        return at_least(max(first, cfg.first_generation))
    return number(cfg.only.generation) if cfg.only.generation >= first else NOTHING


def whole_generations(cfg: Config, first: int = 0) -> str:
    """`generations`, without one of which the run makes only some children."""
    return generations(cfg, first) if cfg.only is None or cfg.only.children is None else NOTHING


def at_least(value: int) -> str:
    """A regular expression of the numbers from `value` on, as they are written in paths."""
    text, digit = number(value), r"\d"
    larger = [
        f"{text[:place]}[{int(own) + 1}-9]{digit * (len(text) - place - 1)}"
        for place, own in enumerate(text)
        if own != "9"
    ]
    # Snakemake takes {3,} for the end of a wildcard.
    return "|".join([text, *larger, f"[1-9]{digit * len(text)}{digit}*"])


def members(cfg: Config, pattern: str) -> str:
    """`pattern`, which matches members of a generation, narrowed to those that the run makes."""
    if cfg.only is None or cfg.only.children is None:
        return pattern
    names = [f"child_{number(child, 2)}" for child in cfg.only.children]
    return "|".join(name for name in names if re.fullmatch(pattern, name)) or NOTHING


def adopted(cfg: Config) -> range:
    """The generations that a branch takes over from the search that it leaves."""
    return range(cfg.resume_from or 0) if cfg.branch is not None else range(0)


def end(cfg: Config, folder: Path = Path()) -> End:
    """Where the search ends, as far as the generations that are finished can tell."""
    search, settings = cfg.search, cfg.search.convergence
    if settings is None:
        return End(search.generations, False)
    best: list[float | None] = []
    for generation in range(search.generations + 1):
        path = _population(cfg, generation, folder)
        if not path.is_file():
            break
        best.append(_best(path, path.stat().st_mtime_ns, search.target_parameters, search.gamma))
    # What is given has been searched, whatever the patience is now.
    last = max(convergence.end(best, settings.patience, settings.min_gain), (cfg.resume_from or 0) - 1)
    if last >= search.generations:
        return End(search.generations, False)
    # A generation that was looked at while the search ran is looked at again when it is made again.
    looked_at = (_generation(cfg, last, folder) / DECIDED).is_file()
    return End(last, makes(cfg, last) and (last >= len(best) or looked_at))


@functools.cache
def _best(path: Path, changed: int, target: float, gamma: float) -> float | None:
    return population.rank_again(population.read_pool(path), target, gamma)[0].fitness


def curves(cfg: Config, last: int, folder: Path = Path()) -> list[int]:
    """The generations whose training curves the report shows: the first two and the last, as far as they are there."""
    return [
        generation
        for generation in sorted({0, min(1, last), last})
        if makes(cfg, generation)
        or all(
            (_generation(cfg, generation, folder) / f"child_{number(child, 2)}/history.csv").is_file()
            for child in range(cfg.search.children_of(generation))
        )
    ]


def compares(cfg: Config, folder: Path = Path()) -> bool:
    """Whether generation 1 is, or was, compared with its twins from scratch."""
    search = cfg.search
    if not (search.enabled and search.compare_scratch and search.generations > 0):
        return False
    return makes(cfg, 1) or (_generation(cfg, 1, folder) / "comparison.csv").is_file()


def check(cfg: Config, words: Collection[str] = (), folder: Path = Path()) -> None:
    """Raise `ConfigError` when something is missing, or does not fit, of what is given; `ArtifactError` where it is damaged.

    `words` are those of the command line: where a child's own files are asked for, the other children need not be there.
    """
    if not cfg.search.enabled:
        return
    first = cfg.first_generation
    end(cfg, folder)  # reads the pools that are there; what is damaged is named before Snakemake asks
    if cfg.search.convergence is not None and cfg.only is None:
        _require((_population(cfg, generation, folder) for generation in range(first)), "search.convergence")
    if first - 1 in adopted(cfg):
        _check_adoption(cfg, folder)
    elif 0 < first <= cfg.search.generations:
        _check_given(cfg, first, folder)
    asked_for = any(word.startswith("results/") for word in words)
    if cfg.only is not None and cfg.only.children is not None and not asked_for:
        others = [child for child in range(cfg.search.children_of(first)) if child not in cfg.only.children]
        places = [_generation(cfg, first, folder) / f"child_{number(child, 2)}" for child in others]
        _require([place / name for place in places for name in ("score.json", "weights.safetensors")], "only.children")


def _check_given(cfg: Config, first: int, folder: Path) -> None:
    """Whether what the generation `first` is made from is there and fits."""
    key = "resume_from" if cfg.only is None else "only"
    given = _generation(cfg, first - 1, folder)
    # Children that are there are not bred again.
    bred = cfg.only is None or cfg.only.children is None
    _require(
        [
            given / "parents.json",
            *([given / "genotypes.csv"] if bred else [_generation(cfg, first, folder) / "children.json"]),
        ],
        key,
    )
    parents = population.read(population.Parents, given / "parents.json").parents
    population.check_space(parents, cfg.search.space, cfg.search.ancestor, given / "parents.json")
    if len(parents) != cfg.search.parents_of(first - 1):
        raise ConfigError(
            f"search.parents: {cfg.search.parents_of(first - 1)}, but {given / 'parents.json'} has {len(parents)}; set it "
            f"to that, choose parents anew in a branch (branch, resume_from: {first}), or resume from {first - 1}"
        )
    weights = [given / f"parents/{rank}.safetensors" for rank in range(len(parents))]
    if cfg.search.keep_ancestor:
        ancestor = _generation(cfg, 0, folder)
        weights += [ancestor / "parents.json", ancestor / "parents/0.safetensors"]
    _require(weights, key)
    if not all(_has_fitness(one, cfg) for one in parents):
        log.warning(
            "%s: chosen with another search.gamma or search.target_parameters; a branch (branch, resume_from: %d) would "
            "choose anew",
            given / "parents.json", first,
        )  # fmt: skip


def adopted_weights(cfg: Config, generation: int, folder: Path = Path()) -> list[Path]:
    """The weights of those that a generation of the search that a branch leaves hands on to it, best first.

    They are chosen from that generation's pool with the branch's mu, Gamma and T. Raises `ArtifactError` when a file is
    missing.
    """
    path = _of_base(cfg, generation, folder) / "population.csv"
    pool = population.rank_again(population.read_pool(path), cfg.search.target_parameters, cfg.search.gamma)
    wanted = cfg.search.parents_of(generation)
    if len(pool) < wanted:
        raise ArtifactError(f"search.parents: {wanted}, but the pool in {path} has {len(pool)}; set it to at most that")
    found = [(one.origin, next(_weights(cfg, one.origin, generation, folder), None)) for one in pool[:wanted]]
    if missing := [origin for origin, weights in found if weights is None]:
        places = ", ".join(
            f"generation {one.generation}, child {one.child} "
            f"({_of_base(cfg, one.generation, folder) / f'child_{number(one.child, 2)}/weights.safetensors'})"
            for one in missing
        )
        raise ArtifactError(
            f"branch {cfg.branch}: with search.parents: {wanted}, gamma: {cfg.search.gamma:g} and target_parameters: "
            f"{cfg.search.target_parameters:g}, generation {generation} of {cfg.experiment} hands on networks whose "
            f"weights are gone: {places}; put them there, or have that generation made again"
        )
    return [weights for _, weights in found if weights is not None]


def _weights(cfg: Config, origin: population.Origin, generation: int, folder: Path) -> Iterator[Path]:
    """Where the weights of a network lie that was in the pool of `generation`: as a survivor's, and where it was born."""
    for later in range(generation, origin.generation - 1, -1):
        place = _of_base(cfg, later, folder)
        if not (place / "parents.json").is_file():
            continue
        for parent in population.read(population.Parents, place / "parents.json").parents:
            if parent.origin == origin and (place / f"parents/{parent.rank}.safetensors").is_file():
                yield place / f"parents/{parent.rank}.safetensors"
    born = _of_base(cfg, origin.generation, folder) / f"child_{number(origin.child, 2)}/weights.safetensors"
    if born.is_file():
        yield born


def _check_adoption(cfg: Config, folder: Path) -> None:
    """A branch that has what it starts from needs the other search no longer."""
    kept = [adopted(cfg)[-1], *([0] if cfg.search.keep_ancestor and len(adopted(cfg)) > 1 else [])]
    own = [
        _generation(cfg, generation, folder) / f"parents/{rank}.safetensors"
        for generation in kept
        for rank in range(cfg.search.parents_of(generation))
    ]
    own += [_generation(cfg, generation, folder) / "population.csv" for generation in adopted(cfg)]
    if all(path.is_file() for path in own):
        return
    base = [_of_base(cfg, generation, folder) / "population.csv" for generation in adopted(cfg)]
    _require([*base, _of_base(cfg, kept[0], folder) / "genotypes.csv"], f"branch {cfg.branch} of {cfg.experiment}")
    for generation in kept:
        adopted_weights(cfg, generation, folder)


def _require(paths: Iterable[Path], key: str) -> None:
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise ConfigError(
            f"{key}: what is given is not there: {', '.join(missing)}; put it there, or leave the key out and have it made"
        )


def _has_fitness(one: population.Individual, cfg: Config) -> bool:
    if one.fitness is None or one.loss is None:
        return True
    own = fitness(one.loss, one.parameters, cfg.search.target_parameters, cfg.search.gamma)
    return math.isclose(own, one.fitness, rel_tol=1e-9)


def _population(cfg: Config, generation: int, folder: Path) -> Path:
    own = _generation(cfg, generation, folder) / "population.csv"
    base = _of_base(cfg, generation, folder) / "population.csv"
    return base if generation in adopted(cfg) and not own.is_file() else own


def _generation(cfg: Config, generation: int, folder: Path) -> Path:
    return folder / f"results/{cfg.folder}/search/gen_{number(generation)}"


def _of_base(cfg: Config, generation: int, folder: Path) -> Path:
    return folder / f"results/{cfg.experiment}/search/gen_{number(generation)}"
