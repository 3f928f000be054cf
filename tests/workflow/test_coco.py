"""The target `coco` against a server on this machine, and what `make coco` would do."""

import copy
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import loopback
from tests.workflow.conftest import ROOT, TINY, Workplace
from tests.workflow.test_planning import jobs

ARCHIVES = loopback.archives()
RECORDS = Path("results/data/coco/files")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[loopback.Server]:
    with loopback.serving(dict(ARCHIVES)) as one:
        yield one


def configure(place: Workplace, server: loopback.Server, **persons: int) -> None:
    config = copy.deepcopy(TINY)
    config["dataset"] = loopback.dataset(ARCHIVES, server.url)
    config["dataset"]["download"]["persons"] |= persons
    place.configure(config)


@pytest.fixture
def place(workplace: Workplace, server: loopback.Server) -> Workplace:
    configure(workplace, server)
    return workplace


@pytest.mark.slow
def test_everything_is_got_and_counted_and_only_what_is_missing_the_next_time(
    place: Workplace, server: loopback.Server
) -> None:
    folder = place.folder / "data/coco"
    folder.mkdir(parents=True)
    (folder / "train2017.zip").write_bytes(ARCHIVES["/zips/train2017.zip"])
    server.cuts = [150_000]
    done = place.snakemake("coco", "--forceall")
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(path.name for path in folder.iterdir()) == ["annotations", "train2017", "train2017.zip", "val2017"]
    records = {path.stem: json.loads(path.read_text()) for path in (place.folder / RECORDS / "archives").iterdir()}
    assert {name: record["source"] for name, record in records.items()} == {
        "annotations_trainval2017": "downloaded", "image_info_test2017": "downloaded", "val2017": "downloaded",
        "train2017": "archive",
    }  # fmt: skip
    counts = json.loads((place.folder / RECORDS / "persons.json").read_text())["splits"]
    assert {split: counts[split]["persons"] for split in ("train", "val")} == loopback.PERSONS
    # On the console, since it is not to be missed: the way to the detections, and that it works without them.
    assert "detections_val.json" in done.stderr and "ask for them" in done.stderr
    assert "persons" in (place.folder / "logs/tiny/data/count_persons.log").read_text()

    # The next time only what is missing is got. Another number of persons is an error, and the data stay.
    for image in (folder / "val2017").iterdir():
        image.unlink()
    server.asked.clear()
    configure(place, server, train=149_813)
    failed = place.snakemake("coco", "--forceall", "--keep-going")  # whichever job comes first
    assert {path for _, path, _ in server.asked} == {"/zips/val2017.zip"}
    assert failed.returncode != 0
    assert "3 persons are in this split, 149,813 are expected" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (place.folder / RECORDS / "persons.json").exists()
    assert [len(list((folder / f"{split}2017").iterdir())) for split in ("train", "val")] == [loopback.IMAGES] * 2


def test_other_targets_download_nothing_and_name_make_coco(place: Workplace) -> None:
    for options, code in ((("search",), 1), ((), 1), (("-n",), 0)):  # a dry run goes on without them
        done = place.snakemake(*options)
        said = done.stdout + done.stderr
        assert done.returncode == code
        assert "data set 'coco': no such file or folder: dataset.train.images: data/coco/train2017" in said
        assert "`make coco` gets the data" in said and "Traceback" not in said
    assert not (place.folder / "results").exists() and not (place.folder / "data").exists()


def test_the_target_is_there_only_where_data_can_be_got(workplace: Workplace) -> None:
    done = workplace.snakemake("coco", "-n")
    assert done.returncode != 0 and "coco" in done.stdout + done.stderr


@pytest.mark.parametrize(("arguments", "archives"), [("", 4), ("coco_test", 5)])
def test_the_command_of_make_coco_plans_on_an_empty_machine(
    workplace: Workplace, arguments: str, archives: int
) -> None:
    (command,) = re.findall(r"^coco: .*\n\t\$\(SNAKEMAKE\) (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    done = workplace.snakemake("-n", *shlex.split(command.replace("$(ARGS)", arguments)))
    assert done.returncode == 0, done.stderr
    planned = jobs(done.stdout)
    assert (planned["download"], planned["count_persons"], planned["coco"]) == (archives, 1, 1)
    assert set(planned) - {"coco_test"} == {"download", "count_persons", "coco", "total"}
    for name in ("annotations_trainval2017", "image_info_test2017", "val2017", "train2017"):
        assert f"Getting {name}" in done.stdout
    assert ("Getting test2017" in done.stdout) == (archives == 5)
