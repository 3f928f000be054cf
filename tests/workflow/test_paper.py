"""The target `paper`: what it plans, with and without results, and that it runs no experiment."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.unit.made_results import finish, finish_search, write_latency, write_pools
from tests.workflow.conftest import ROOT, TINY, Workplace
from tests.workflow.test_planning import jobs

EXPERIMENTS = sorted(path.stem for path in (ROOT / "config/experiments").glob("*.yaml"))
TABLES = [f"table_{number}" for number in range(1, 6)]
FIGURES = ["figure_1", "figure_4", "figure_5"]
FILES = {f"table{number}.{kind}" for number in range(1, 6) for kind in ("csv", "md", "html")}
FILES |= {f"figure{number}.svg" for number in (1, 4, 5)}


def planned(place: Workplace, *options: str) -> set[str]:
    done = place.snakemake("paper", "-n", *options)
    assert done.returncode == 0, done.stderr[-3000:]
    return set(jobs(done.stdout + done.stderr)) - {"total", "paper"}


@pytest.mark.slow
def test_the_paper_without_and_with_results(workplace: Workplace) -> None:
    done = workplace.snakemake("paper")
    assert done.returncode == 0, done.stderr[-6000:]
    assert set(jobs(done.stdout + done.stderr)) == {"paper", "total", *TABLES, *FIGURES}
    folder = workplace.folder / "results/paper"
    assert {path.name for path in folder.iterdir()} == FILES
    assert "71.0 / not run" in (folder / "table1.md").read_text()
    assert not (workplace.folder / "results/tiny").exists()
    assert planned(workplace) == set()

    # What comes or changes makes what has it, and nothing else.
    results = workplace.folder / "results"
    finish(results, "table1_256")
    assert planned(workplace) == {"table_1", "figure_4"}
    finish_search(results, "E3")
    assert planned(workplace) == {"table_1", "table_2", "figure_4", "figure_5"}
    write_latency(finish(results, "table3_evopose2d_s"))
    (results / "table3_hrnet_w32").mkdir()
    (results / "table3_hrnet_w32/summary.json").write_text("{")
    done = workplace.snakemake("paper")
    assert done.returncode == 0, done.stderr[-6000:]
    assert "71.0 / 70.1" in (folder / "table1.md").read_text()
    third = (folder / "table3.md").read_text()
    assert "70.2 / 70.1" in third and "102 / 87.7" in third and "73.6 / damaged" in third
    # On the console, too.
    assert re.search(r"WARNING table3_hrnet_w32: \S*summary\.json: not readable as JSON", done.stderr)
    assert planned(workplace) == set()
    summary = results / "table1_256/summary.json"
    summary.write_text(summary.read_text().replace("0.7012", "0.6512"))
    assert planned(workplace) == {"table_1", "figure_4"}
    # Another prefix is another set of results.
    assert planned(workplace, "--config", "paper_prefix=smoke_") >= {"table_1", "figure_5"}

    report = workplace.snakemake("paper", "--report", "report.html")
    assert report.returncode == 0, report.stderr
    page = (workplace.folder / "report.html").read_text()
    assert "Table 3: comparison of networks" in page and "Fig. 5: convergence of the searches" in page


@pytest.mark.slow
@pytest.mark.xdist_group("run")
def test_the_paper_with_the_results_of_a_run(finished: Workplace, workplace: Workplace) -> None:
    """A real search under the name of E3 is shown as what it is."""
    shutil.copytree(finished.folder / "results/tiny", workplace.folder / "results/mine_E3")
    targets = [f"results/paper/{name}" for name in ("table2.md", "figure5.svg")]
    done = workplace.snakemake(*targets, "--config", "paper_prefix=mine_")
    assert done.returncode == 0, done.stderr[-6000:]
    assert set(jobs(done.stdout + done.stderr)) - {"total"} == {"table_2", "figure_5"}
    text = (workplace.folder / targets[0]).read_text()
    assert "not comparable: tiny: synthetic, 32x32, 1 generation, 1 epoch, batch 8, preset paper" in text
    champion = json.loads((finished.folder / "results/tiny/champion.json").read_text())
    row = next(line for line in text.splitlines() if line.startswith("| module 3"))
    cells = re.findall(r"(\S+) / \((\S+)\)", row)
    assert [own for _, own in cells[:4]] == [
        str(gene) for gene in (*champion["genotype"][2][:2], 8 * champion["genotype"][2][2], champion["genotype"][2][3])
    ]
    drawn = (workplace.folder / targets[1]).read_text()
    assert "E3 (not comparable: tiny: synthetic, 32x32" in drawn and "E1 (not run)" in drawn


def test_no_experiment_is_planned_for_the_paper_even_if_it_is_the_active_one(workplace: Workplace) -> None:
    """Its own results are files like others: a search that is not at its end stays as it is."""
    workplace.configure({**TINY, "experiment": "E3"})
    write_pools(workplace.folder / "results/E3")
    assert planned(workplace) == {*TABLES, *FIGURES}
    folder = finish_search(workplace.folder / "results", "E3")
    # Out of date for the rules of the active experiment: by themselves they would be made again, with all trainings.
    (folder / "search/gen_001/children.json").touch()
    for path in (*folder.glob("search/*/population.csv"), folder / "summary.json"):
        os.utime(path, (1, 1))
    assert planned(workplace) == {*TABLES, *FIGURES}
    search = workplace.snakemake("results/E3/search/gen_001/population.csv", "-n")
    assert "train_child" in jobs(search.stdout + search.stderr)


def test_a_prefix_is_checked(workplace: Workplace) -> None:
    done = workplace.snakemake("paper", "-n", "--config", "paper_prefix=a/b")
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "paper_prefix: " in said and "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_be_planned_with_and_without_smoke(workplace: Workplace, name: str) -> None:
    """Neither needs data: those of COCO and PoseTrack can be got, and the synthetic ones are made."""
    own = f"config/experiments/{name}.yaml"
    search = "train_child" if name.startswith("E") else "train_model"
    for others in ([], ["config/overrides/smoke.yaml"]):
        done = workplace.snakemake("--configfile", own, *others, "-n", "--quiet", "rules")
        assert done.returncode == 0, done.stderr[-3000:]
        found = jobs(done.stdout + done.stderr)
        config = yaml.safe_load(Path(ROOT / own).read_text())
        generations, children = (
            (1, 2) if others else (config["search"].get("generations", 0), config["search"].get("children", 0))
        )
        expected = 1 + generations * children if search == "train_child" else 1
        assert found[search] == expected
        assert found["train_model"] == len(config["final"]["models"])
        assert ("synthesize" in found) is bool(others)
