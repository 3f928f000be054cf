"""The texts of the report: they render for every configuration, and every link in them leads somewhere."""

import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import jinja2
import pytest
import yaml
from docutils.core import publish_parts
from docutils.utils import SystemMessage

ROOT = Path(__file__).parents[2]
TEXTS = sorted((ROOT / "workflow" / "report").glob("*.rst"))
CATEGORIES = ("1 Summary", "2 Evolution", "3 Weight transfer", "4 Champion", "5 Final networks", "Paper")
DEMO = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
FULL = {
    "experiment": "full",
    "dataset": "config/datasets/coco2017.yaml",
    "input": {"height": 96, "width": 64},
    "train": {"batch": 32, "epochs": 9},
    "search": {
        "generations": 2,
        "children": 4,
        "parents": 3,
        "gamma": -0.07,
        "target_parameters": 5e5,
        "train": {"epochs": 2},
    },
    "final": {"models": {"evopose_m": {"height": 128, "width": 96}}},
    "refine": {"enabled": True},
}
SMALL = {
    "experiment": "small",
    "dataset": {"name": "own"},
    "input": {"height": 64},
    "search": {"generations": 1, "children": {1: 8, 5: 4}, "parents": 1, "transfer": False},
    "final": {"models": {"a": None, "b": {"height": 64, "width": 64}}},
}


def rendered(path, config, categories=CATEGORIES, wildcards=None):
    """The text as HTML, made as Snakemake makes it, but strict: any problem is an error."""
    links = "".join(
        f"\n.. _{name}: javascript:app.showCategory('{quote(name)}')" for name in (*categories, "Statistics")
    )
    snakemake = SimpleNamespace(config=config, wildcards=wildcards or {})
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string(path.read_text() + "\n\n" + links).render(
        snakemake=snakemake, categories=[SimpleNamespace(name=name) for name in categories], files=[]
    )
    strict = {"halt_level": 2, "report_level": 5}
    return publish_parts(text, writer="html", settings_overrides=strict)["html_body"]


def words(page):
    return " ".join(re.sub(r"<[^>]+>", "", page).split())


@pytest.mark.parametrize("config", [DEMO, FULL, SMALL], ids=["demo", "full", "small"])
@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_texts_render(path, config):
    for wildcards in ({}, {"model": "evopose_m"}, {"gen": "001"}):
        if path.stem == "overlays" and "model" not in wildcards:
            continue
        page = words(rendered(path, config, wildcards=wildcards))
        assert len(page) > 100 and "{{" not in page and "{%" not in page
        assert "  " not in page and " ." not in page and " ," not in page
        assert not re.search(r"[a-z0-9)][.;:,][A-Z]", page)  # sentences that stick together


def test_the_story_names_the_settings_of_the_run():
    page = words(rendered(ROOT / "workflow/report/workflow.rst", FULL))
    assert page.startswith("EvoPose: full")
    assert (
        "In each generation up to number 2, mutation made 4 children" in page
        and "the best 3 of children and parents" in page
    )
    assert "T is 500,000; gamma is -0.07, so that small networks are favoured" in page
    assert "Children were trained for 2 epochs with a batch of 32." in page
    assert "96x64 pixels (height x width)" in page and "evopose_m at 128x96." in page
    other = words(rendered(ROOT / "workflow/report/workflow.rst", SMALL))
    assert "children (8 from generation 1 on, 4 from generation 5 on), none" in other
    assert "every child started from scratch" in other and "a, b at 64x64." in other


def test_the_story_has_the_refiner_of_a_run_with_one():
    path = ROOT / "workflow/report/workflow.rst"
    assert "PoseFix" in rendered(path, FULL) and "PoseFix" not in rendered(path, SMALL)


def test_every_category_is_linked_where_it_exists():
    path = ROOT / "workflow/report/workflow.rst"
    for name in CATEGORIES:
        assert f"app.showCategory('{quote(name)}')" in rendered(path, DEMO)
    without = rendered(path, DEMO, categories=[name for name in CATEGORIES if name[0] != "3"])
    assert "3 Weight transfer" not in without


def test_the_check_is_strict(tmp_path):
    (tmp_path / "a.rst").write_text("`6 Nothing`_")
    with pytest.raises(SystemMessage):
        rendered(tmp_path / "a.rst", DEMO)


def test_categories_are_those_of_the_rules():
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    assert set(re.findall(r'category="([^"]+)"', rules)) == set(CATEGORIES)
    captions = set(re.findall(r'caption="\.\./report/(\w+)\.rst"', rules))
    assert captions == {path.stem for path in TEXTS} - {"workflow"}
