"""Kill a tiny search at chosen moments, start Snakemake again after each kill, and compare its end with a calm one's."""

import copy
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.workflow.conftest import ROOT, TINY, Workplace

log = logging.getLogger(__name__)

INJECT = Path(__file__).parent / "inject"
VICTIMS = ("child", "controller", "machine")
TRIES = 30
"""Runs of Snakemake until a search whose kills are over has to have come to its end."""

# Of each program of a search, the files that it writes.
WRITES = {
    "validate.py": ["train.json", "val.json"],
    "convert.py": ["manifest.json"],
    "ancestor.py": ["children.json", "genotypes.csv"],
    "initialise.py": ["initial.safetensors"],
    "mutate.py": ["children.json", "genotypes.csv"],
    "transfer.py": ["initial.safetensors", "inheritance.json"],
    "train.py": ["state", "history.csv", "weights.safetensors"],
    "score.py": ["score.json"],
    "select_parents.py": ["0.safetensors", "population.csv", "parents.json"],
    "champion.py": ["champion.json", "champion.safetensors"],
}


KINDS = {"start": ["start"], "writing": ["inside"], "renaming": ["before", "after"]}
"""Of moments: before a program's first line, while a file is written, right before or after it gets its name."""

BETWEEN = "snakemake at a random moment"
PHASES = [*(f"{program} {kind}" for program in WRITES for kind in KINDS), BETWEEN]


@dataclass(frozen=True)
class Kill:
    """Who is killed (`VICTIMS`) when: a moment, as inject/sitecustomize.py describes it, of a program."""

    program: str
    moment: str
    victim: str

    @property
    def phase(self) -> str:
        """Of `PHASES`."""
        if not self.program:
            return BETWEEN
        kind = next(kind for kind, moments in KINDS.items() if self.moment.partition(":")[0] in moments)
        return f"{self.program} {kind}"


def config() -> dict[str, object]:
    """The tiny search: 2 generations of 2 children, trainings of two epochs."""
    made = copy.deepcopy(TINY)
    made["search"] |= {"generations": 2, "children": 2, "parents": 2, "compare_scratch": False}
    made["search"]["train"] = {"epochs": 2}
    return made


def plan(number: int, seed: int) -> list[Kill]:
    """`number` kills: every phase in turn, in a random order; file and victim are random."""
    rng = np.random.default_rng(seed)
    first = rng.permutation(len(PHASES))
    return [_kill(PHASES[first[index % len(PHASES)]], rng) for index in range(number)]


def _kill(phase: str, rng: np.random.Generator) -> Kill:
    if phase == BETWEEN:
        return Kill("", "", "controller")
    program, kind = phase.split()
    moment = str(rng.choice(KINDS[kind]))
    moment += "" if kind == "start" else f":{rng.choice(WRITES[program])}"
    return Kill(program, moment, str(rng.choice(VICTIMS)))


class Search:
    """The tiny search in a folder of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir(parents=True)
        self.place = Workplace(folder)
        self.place.configure(config())
        self._chaos, self._log = folder / "chaos.json", folder / "kills.log"
        self._rng = np.random.default_rng(seed)

    @property
    def kills(self) -> list[str]:
        """The phases of the kills that happened."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    def run(self, kill: Kill | None = None) -> int:
        """Snakemake until it ends or is killed; a moment that is over does not come. Returns the exit code."""
        if kill is not None and kill.program:
            content = {"program": kill.program, "moment": kill.moment, "victim": kill.victim, "phase": kill.phase}
            self._chaos.write_text(json.dumps(content | {"log": str(self._log)}))
        process = self.started()
        if kill is not None and not kill.program:
            try:
                process.wait(float(self._rng.uniform(2, 20)))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                with self._log.open("a") as stream:
                    stream.write(f"{kill.phase}\n")
        code = process.wait(900)
        self._chaos.unlink(missing_ok=True)
        return code

    def finish(self) -> None:
        """Run Snakemake, and nothing else, until the search is at its end."""
        for _ in range(TRIES):
            if self.run() == 0:
                return
            time.sleep(1)
        raise AssertionError(f"no end after {TRIES} runs:\n{(self.place.folder / 'snakemake.log').read_text()[-5000:]}")

    def outcome(self) -> dict[str, bytes]:
        """Every file of the search that does not depend on times."""
        root = self.place.folder / "results" / "tiny"
        names = ("*.safetensors", "population.csv", "*.json", "genotypes.csv")
        return {str(path.relative_to(root)): path.read_bytes() for name in names for path in sorted(root.rglob(name))}

    def started(self) -> subprocess.Popen[bytes]:
        """Snakemake, in a process group of its own."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SNAKEMAKE")}
        environment |= {"EVOPOSE_CHAOS": str(self._chaos), "PYTHONPATH": f"{INJECT}:{ROOT}"}
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile"), "search"]
        command += ["--profile", "profiles/local", "--configfile", "tiny.yaml", "--cores", "2"]
        with (self.place.folder / "snakemake.log").open("ab") as stream:
            return subprocess.Popen(
                command, cwd=self.place.folder, env=environment, stdout=stream, stderr=stream, start_new_session=True
            )


def chaos(folder: Path, number: int, seed: int, kills_a_search: int = 12) -> Iterator[tuple[Search, Sequence[str]]]:
    """Searches that are killed `number` times together; each, at its end, with the phases of its kills."""
    waiting = plan(number, seed)
    for index in range(10 * number):
        if not waiting:
            return
        search = Search(folder / f"search_{index:03d}", seed + index)
        # As a search goes on: a moment that is over does not come again.
        turns, waiting = sorted(waiting[:kills_a_search], key=_place), waiting[kills_a_search:]
        for place, kill in enumerate(turns):
            before = len(search.kills)
            ended = search.run(kill) == 0
            waiting += [kill] if len(search.kills) == before else []
            if ended:  # nothing is written any more
                waiting += turns[place + 1 :]
                break
        search.finish()
        log.info("%s: %d kills, %d to come", search.place.folder.name, len(search.kills), len(waiting))
        yield search, search.kills
    raise AssertionError(f"moments that never came: {waiting}")


def _place(kill: Kill) -> int:
    return [*WRITES, ""].index(kill.program)


def histogram(kills: Sequence[str]) -> str:
    """How often a search died in each phase."""
    counted = Counter(kills)
    width = max(map(len, PHASES))
    return "\n".join(f"{phase:<{width}}  {counted[phase]:3d}  {'#' * counted[phase]}" for phase in PHASES)
