"""The documents name what is there: columns, files, targets, versions."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from pipeline_lib.evaluate.coco import METRICS
from pipeline_lib.plots import networks
from pipeline_lib.search import comparison, population
from pipeline_lib.train import history

ROOT = Path(__file__).parents[2]
OUTPUT = (ROOT / "workflow/docs/output.md").read_text()
USAGE = (ROOT / "workflow/docs/usage.md").read_text()
TPU = (ROOT / "workflow/docs/tpu.md").read_text()
BUCKETS = (ROOT / "workflow/docs/buckets.md").read_text()
CLUSTERS = (ROOT / "workflow/docs/clusters.md").read_text()
PROFILES = (ROOT / "profiles/README.md").read_text()
MANUAL = (ROOT / "config/README.md").read_text()


def columns(before):
    """The names in the first column of the table that follows the text `before`."""
    rows = re.search(r"\|---\|---\|\n((?:\|.*\n)+)", OUTPUT[OUTPUT.index(before) :]).group(1).splitlines()
    return tuple(name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1]))


def test_columns_are_those_that_are_written():
    assert columns("`population.csv`, best first:") == population.POPULATION_COLUMNS
    assert set(columns("With `search.compare_scratch`")) == set(comparison.COLUMNS)
    assert columns("### `history.csv`") == history.COLUMNS
    assert columns("### `networks.csv`") == networks.COLUMNS
    assert f"`metrics` ({', '.join(METRICS)}," in OUTPUT


@pytest.mark.parametrize("model", [population.Individual, population.Child])
def test_documents_have_every_key(model):
    for key in model.model_fields:
        assert f"`{key}`" in OUTPUT


def test_links_and_paths_lead_somewhere():
    manuals = [("workflow/docs", text) for text in (USAGE, OUTPUT, TPU, CLUSTERS, BUCKETS)]
    for path, text in (*manuals, ("config", MANUAL), ("profiles", PROFILES)):
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert (ROOT / path / link).exists(), link
        for name in re.findall(r"(?:scripts|config|profiles|workflow|pipeline_lib)/[\w/.-]*[\w/]", text):
            if name not in ("config/datasets/mine.yaml",):
                assert (ROOT / name).exists(), name


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = USAGE + TPU + CLUSTERS + BUCKETS + PROFILES
    used = set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))
    assert {"demo", "test", "report", "check-tpu"} <= used <= targets


def test_scripts_options_exist():
    commands = re.findall(r"python scripts/(\w+)\.py(.*)", USAGE + TPU + BUCKETS)
    assert {"plot", "networks", "latency", "submission"} <= {program for program, _ in commands}
    for program, words in commands:
        source = (ROOT / f"scripts/{program}.py").read_text()
        if program == "plot":
            assert f'"{words.split()[0]}"' in source
        for option in re.findall(r"--[a-z-]+", words):
            assert f'"{option}"' in source


def test_commands_have_their_targets_first():
    """An option that takes several words would take a target for one of them."""
    commands = re.findall(r"`(snakemake [^`]+)`", USAGE) + re.findall(r"^ *(snakemake .+)$", USAGE, re.MULTILINE)
    assert len(commands) > 8
    for command in commands:
        words = shlex.split(command)
        for option in ("--configfile", "--report", "-R"):
            if option in words:
                after = words[words.index(option) + 2 :][:1]
                if after and option == "--configfile" and (ROOT / after[0]).is_file():
                    continue  # a second one, on top of the first
                assert not after or after[0].startswith("-") or after == ["..."], command
        if "results/" in command or "-R" in words:
            assert "--profile" in words or "..." in words, command


def test_examples_of_the_manual_are_valid():
    from pipeline_lib import config

    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", MANUAL, re.DOTALL)]
    whole, keypoints, training = blocks
    loaded = config.load(whole, ROOT)
    assert loaded.search.children == 32
    config.KeypointSchema.model_validate(keypoints["keypoints"])
    merged = config.load({**whole, "train": training["train"], "final": whole["final"] | training["final"]}, ROOT)
    assert (merged.final.train.batch, merged.search.train.batch) == (256, 512)


def test_versions_and_licence_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"] == "Apache-2.0"
    assert citation["preferred-citation"]["doi"] == "10.1109/ACCESS.2021.3118207"
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence and "END OF TERMS AND CONDITIONS" in licence
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


def test_catalog_finds_what_it_reads():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"]["report"] is usage["report"] is True
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    assert (ROOT / "workflow/Snakefile").exists()
