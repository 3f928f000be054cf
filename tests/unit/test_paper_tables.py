"""The paper's tables with results beside the paper's values: whatever exists, marked as what it is, and nothing else."""

import csv
import dataclasses
import io
import json
import math
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline_lib import artifacts, facts
from pipeline_lib.config import PAPER_SPACE
from pipeline_lib.errors import ArtifactError, ConfigError
from pipeline_lib.nets import files, registry
from pipeline_lib.nets.layers import count_network, initial_weights, profiled_multiply_adds
from pipeline_lib.nets.spec import Architecture
from pipeline_lib.paper import experiments, server
from pipeline_lib.paper import tables as paper
from pipeline_lib.plots import pages
from pipeline_lib.plots.paper import results, table1, table2, table3, table4, table5
from pipeline_lib.plots.paper.results import Status
from pipeline_lib.search import population
from pipeline_lib.search.genotype import EVOPOSE2D_S, key
from tests.unit.made_results import (
    METRICS,
    POOLS,
    ROOT,
    SMOKE,
    finish,
    finish_search,
    place,
    settings,
    write_history,
    write_latency,
    write_pools,
)
from tests.unit.test_summary import tables_of

XS = "table3_evopose2d_xs"
# As a run on another machine differs, without another result to be expected.
SAME = {"seed": 9, "train": {"cpu_threads": 2, "deterministic": True, "devices": 2, "accumulation": 4}}


def text(sheet):
    return pages.as_markdown(sheet.title, sheet.parts)


def grid(sheet, number=0):
    """The cells of a sheet's table, each row by its header."""
    header, *rows = tables_of(text(sheet))[number]
    return [dict(zip(header, row, strict=True)) for row in rows]


def row_of(sheet, method, size="256x192", pretrained="no", dataset=0):
    (found,) = [
        row
        for row in grid(sheet, dataset)
        if (row["method"], row["input"], row["pretrained"]) == (method, size, pretrained)
    ]
    return found


def csv_row(sheet, experiment):
    return [row for row in sheet.rows if row["experiment"] == experiment][-1]


# Without any result


def test_without_results_all_that_needs_a_run_is_not_run(tmp_path):
    for row in grid(table1.sheet(place(tmp_path))):
        assert row["training time (h)"].endswith("/ not run") and row["AP"].endswith("/ not run")
        assert row["run here"] == "not run"
    second = grid(table2.sheet(place(tmp_path)))
    assert all(cell.endswith("/ not run") for row in second for name, cell in row.items() if name != "component")
    sheet = table3.sheet(place(tmp_path))
    assert [len(table) - 1 for table in tables_of(text(sheet))] == [20, 6, 4]
    for dataset in range(3):
        for row in grid(sheet, dataset):
            missing = "not run"
            for name in ("FPS", *METRICS):
                assert row[name].split(" / ")[1] == missing, row
    assert {row["status"] for row in sheet.rows} == {"not run"}
    measured = ("fps", *METRICS)
    assert all(row[name] is None for row in sheet.rows for name in measured)


def test_the_papers_values_are_in_every_table(tmp_path):
    first = grid(table1.sheet(place(tmp_path)))
    assert [(row["batch"], row["warm-up"], row["scaled rate"]) for row in first] == [
        *((batch, "yes", "yes") for batch in ("256", "512", "1024", "2048")),
        *(("2048", "no", "yes"), ("2048", "yes", "no")),
    ]
    hours, aps = ([row[name].split(" / ")[0] for row in first] for name in ("training time (h)", "AP"))
    assert hours == ["7.20", "5.42", "5.25", "5.32", "5.35", "5.33"]
    assert aps == ["71.0", "71.0", "71.2", "71.0", "69.7", "70.3"]
    sheet = table3.sheet(place(tmp_path))
    large = row_of(sheet, "EvoPose2D-L", "512x384")
    printed = ["14.7", "17.7", "60.6", "15.9", "76.6", "90.5", "83.0", "72.7", "83.4", "82.3"]
    names = ["params (M)", "FLOPs (G)", "size (MB)", "FPS", *METRICS]
    assert [large[name].split(" / ")[0] for name in names] == printed
    cpn = row_of(sheet, "CPN [23]", "384x288", "yes", dataset=1)
    assert [cpn[name].split(" / ")[0] for name in names] == [
        "-",
        "-",
        "-",
        "-",
        "72.1",
        "91.4",
        "80.0",
        "68.7",
        "77.2",
        "78.5",
    ]
    posetrack = row_of(sheet, "EvoPose2D-M", "384x288", "yes", dataset=2)
    assert posetrack["AP"] == "60.4 / not run" and posetrack["run here"] == "not run"
    starred = row_of(sheet, "EvoPose2D-L*", "512x384")
    assert starred["params (M)"] == "14.7 / -" and starred["run here"] == "not run"


REFERENCE = {row["network"]: row for row in csv.DictReader(io.StringIO("""network,params,flops
EvoPose2D-XS,2531199,468615526
EvoPose2D-S,2531199,1072348774
EvoPose2D-M,7341609,5593475448
EvoPose2D-L,14709587,17711152522
SB-R50,34080913,5205984768
HRNet-W32,28590449,7645029888
EfficientNet-B0‡,5822772,601506812
"""))}  # fmt: skip


def test_what_needs_no_run_is_computed(tmp_path):
    """Against counts made elsewhere."""
    rows = {row["method"]: row for row in table3.sheet(place(tmp_path)).rows if row["dataset"] == "coco_val"}
    cells = {row["method"]: row for row in grid(table3.sheet(place(tmp_path)))}
    for method, counted in REFERENCE.items():
        assert rows[method]["parameters"] == int(counted["params"])
        assert str(rows[method]["multiply_adds"]) == counted["flops"]
        assert cells[method]["params (M)"].endswith(f"/ {int(counted['params']) / 1e6:.3f} =")
        assert cells[method]["FLOPs (G)"].endswith(f"/ {int(counted['flops']) / 1e9:.3f} =")
    # What is not equal in every printed digit has no sign of equality.
    assert row_of(table3.sheet(place(tmp_path)), "HRNet-W32 [24]", "384x288", "yes")["FLOPs (G)"] == "16.0 / 17.201"


def test_table_4_is_the_ancestor():
    rows = grid(table4.sheet())
    shapes = [(2, 16), (4, 24), (8, 40), (16, 80), (16, 112), (32, 192), (32, 320)]  # appendix A-A
    blocks, kernels, strides = (1, 2, 2, 3, 3, 4, 1), (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 2, 1, 2, 1)
    for index, row in enumerate(rows):
        shrinkage, channels = shapes[index]
        shape = f"(h/{shrinkage}, w/{shrinkage}, {channels})"
        assert row == {
            "component": f"module {index + 1}",
            "blocks": f"{blocks[index]} / {blocks[index]}",
            "kernel": f"{kernels[index]} / {kernels[index]}",
            "stride": f"{strides[index]} / {strides[index]}",
            "output shape": f"{shape} / {shape}",
            "output at 256x192": f"{256 // shrinkage}x{192 // shrinkage}x{channels}",
        }
    assert len(rows) == len(table4.sheet().rows) == 7


def test_table_5_is_the_formula():
    for row, (height, width) in zip(table5.sheet().rows, ((384, 288), (512, 384)), strict=True):
        phi = math.log(((height + width) / 2) / 224) / math.log(1.15)
        assert [row["phi"], row["depth_coefficient"], row["width_coefficient"]] == pytest.approx(
            [phi, 1.2**phi, 1.1**phi]
        )
        assert (row["height"], row["width"]) == (height, width)
    cells = grid(table5.sheet())
    assert cells[0]["phi"] == "2.90 / 2.9011 =" and cells[1]["width coefficient"] == "1.60 / 1.6043 ="


# With results


def test_a_result_stands_beside_the_papers(tmp_path):
    finish(tmp_path, "table1_512", seconds=97.2)
    found = table1.sheet(place(tmp_path))
    row = grid(found)[1]
    assert row["AP"] == "71.0 / 70.1"
    assert row["training time (h)"] == "5.42 / 5.40"  # 200 epochs of 97.2 s
    assert row["run here"] == "coco2017, 256x192, 200 epochs, batch 512, preset paper, 8 x TPU v3"
    assert "Notes" not in text(found)
    written = csv_row(found, "table1_512")
    assert (written["AP"], written["status"]) == (70.12, "comparable")
    assert written["hours"] == pytest.approx(5.4)
    assert [one["run here"] for one in grid(found)].count("not run") == 5


def test_a_starred_row_has_the_refined_result_and_the_plain_row_does_not(tmp_path):
    name, kinds = "table3_evopose2d_l_posefix", ("ground_truth", "detections")
    results_folder = finish(tmp_path, name, boxes=(*kinds, *(f"{kind}_refined" for kind in kinds)))
    written = artifacts.read_json(results_folder / "summary.json")
    for entry in written["models"]:
        if entry["boxes"] == "detections_refined":
            entry["metrics"] = METRICS | {"AP": 0.7755}
    artifacts.write_json(results_folder / "summary.json", written)
    sheet = table3.sheet(place(tmp_path))
    starred = row_of(sheet, "EvoPose2D-L*", "512x384")
    assert starred["AP"] == "77.5 / 77.5" and starred["run here"].startswith("coco2017, 512x384, 200 epochs")
    assert row_of(sheet, "EvoPose2D-L", "512x384")["run here"] == "not run"
    on_server = {"sheet": sheet, "method": "EvoPose2D-L*", "size": "512x384", "dataset": 1}
    assert row_of(**on_server)["run here"].endswith("alone, not run")
    # The server's answer on the refined results is not that on the network's own.
    (results_folder / "answer.json").write_text(json.dumps(SERVER))
    model = results_folder / "models" / "evopose2d_l"
    server.enter(results_folder / "answer.json", model)
    assert row_of(**{**on_server, "sheet": table3.sheet(place(tmp_path))})["AP"] == "76.8 / not run"
    with pytest.raises(ArtifactError, match="no refined results"):
        server.enter(results_folder / "answer.json", model, refined=True)
    (model / "predictions_detections_refined.json").write_text("[]")
    assert server.enter(results_folder / "answer.json", model, refined=True).name == "metrics_test_dev_refined.json"
    assert row_of(**{**on_server, "sheet": table3.sheet(place(tmp_path))})["AP"] == "76.8 / 75.7"
    # A refiner of another kind is no comparison.
    written["settings"]["refine"]["train"]["epochs"] = 3
    artifacts.write_json(results_folder / "summary.json", written)
    assert row_of(table3.sheet(place(tmp_path)), "EvoPose2D-L*", "512x384")["AP"] == "77.5 / (77.5)"
    # The same run without detections.
    finish(tmp_path, name, boxes=("ground_truth", "ground_truth_refined"))
    assert row_of(table3.sheet(place(tmp_path)), "EvoPose2D-L*", "512x384")["AP"] == "77.5 / (90.0)"


def test_a_result_of_table_3(tmp_path):
    write_latency(finish(tmp_path, XS, APL=-1.0))
    sheet = table3.sheet(place(tmp_path))
    row = row_of(sheet, "EvoPose2D-XS")
    assert [row[name] for name in METRICS] == [
        "68.0 / 70.1", "87.9 / 88.6", "76.1 / 77.5", "64.5 / 66.5", "74.3 / -", "75.0 / 76.3",
    ]  # fmt: skip
    assert (row["FPS"], row["frame rate measured on"]) == ("136 / 87.7", "Some GPU, 1,000 passes")
    others = [other for other in sheet.rows if other["experiment"] != XS]
    assert len(others) == 29 and not any(other["AP"] for other in others)


def test_rows_of_one_experiment_share_its_result_but_test_dev_does_not(tmp_path):
    finish(tmp_path, "table3_evopose2d_l")
    finish(tmp_path, "table3_hrnet_w32")
    sheet = table3.sheet(place(tmp_path))
    assert row_of(sheet, "HRNet-W32 [24]")["AP"] == "73.4 / 70.1" and row_of(sheet, "HRNet-W32")["AP"] == "73.6 / 70.1"
    assert row_of(sheet, "EvoPose2D-L", "512x384")["AP"] == "76.6 / 70.1"
    on_server = row_of(sheet, "EvoPose2D-L", "512x384", dataset=1)
    assert on_server["AP"] == "75.7 / not run" and "by COCO's server alone, not run" in on_server["run here"]
    assert [row["AP"] for row in sheet.rows if row["dataset"] == "coco_test_dev"] == [None] * 6


SERVER = {"AP": 0.757, "AP50": 0.919, "AP75": 0.831, "APM": 0.722, "APL": 0.815, "AR": 0.817}


def enter(folder, model, stats):
    (folder / "answer.json").write_text(json.dumps(stats))
    return server.enter(folder / "answer.json", folder / "models" / model)


def test_what_coco_s_server_answered_stands_in_the_rows_of_test_dev(tmp_path):
    folder = finish(tmp_path, "table3_evopose2d_l")
    assert enter(folder, "evopose2d_l", SERVER) == folder / "models/evopose2d_l/metrics_test_dev.json"
    sheet = table3.sheet(place(tmp_path))
    row = row_of(sheet, "EvoPose2D-L", "512x384", dataset=1)
    assert [row[name] for name in METRICS] == [
        "75.7 / 75.7", "91.9 / 91.9", "83.1 / 83.1", "72.2 / 72.2", "81.5 / 81.5", "81.7 / 81.7",
    ]  # fmt: skip
    assert row["run here"].endswith("8 x TPU v3; AP of test-dev: from COCO's server")
    (written,) = [one for one in sheet.rows if one["dataset"] == "coco_test_dev" and one["AP"]]
    assert (written["AP"], written["AR"], written["status"]) == (75.7, 81.7, "comparable")
    # The rows of val2017 have their own.
    assert row_of(sheet, "EvoPose2D-L", "512x384")["AP"] == "76.6 / 70.1"
    # Of a run with other settings it cannot be compared either.
    other = finish(tmp_path, "table3_evopose2d_l", SMOKE, name="smoke_table3_evopose2d_l")
    enter(other, "evopose2d_l", SERVER)
    sheet = table3.sheet(place(tmp_path, "smoke_"))
    assert row_of(sheet, "EvoPose2D-L", "512x384", dataset=1)["AP"] == "75.7 / (75.7)"


def test_a_damaged_answer_of_the_server_is_named_and_nothing_else_is_lost(tmp_path):
    folder = finish(tmp_path, "table3_evopose2d_l")
    path = enter(folder, "evopose2d_l", SERVER)
    replaced(path, "0.757", "75.7")
    sheet = table3.sheet(place(tmp_path))
    assert row_of(sheet, "EvoPose2D-L", "512x384", dataset=1)["AP"] == "75.7 / not run"
    assert row_of(sheet, "EvoPose2D-L", "512x384")["AP"] == "76.6 / 70.1"
    assert f"{path}: AP is 75.7; a number from 0 to 1 is expected, not percent" in text(sheet)


NAMES_OF_STATS = ("AP", "AP_50", "AP .75", "APm", "AP_large", "AR")


def test_the_server_s_answer_in_its_forms(tmp_path):
    folder = finish(tmp_path, "table3_evopose2d_l")
    values = list(SERVER.values())
    order = [*values, 0.9, 0.8, 0.7, 0.6]  # pycocotools' stats
    for stats in (SERVER, dict(zip(NAMES_OF_STATS, values, strict=True)), {"AP .5": 0.919, **SERVER}, order):
        if isinstance(stats, dict) and "AP .5" in stats:
            del stats["AP50"]
        assert server.read(enter(folder, "evopose2d_l", stats)) == SERVER
    content = artifacts.read_json(folder / "models/evopose2d_l/metrics_test_dev.json")
    assert content == {"schema_version": 1, "source": "COCO's server", "metrics": SERVER}


@pytest.mark.parametrize(
    ("stats", "said"),
    [
        ({**SERVER, "AP": 1.01}, "AP is 1.01; a number from 0 to 1"),
        ({**SERVER, "AR": -1}, "AR is -1; a number from 0 to 1"),
        ({**SERVER, "APM": "0.7"}, "APM is '0.7'; a number"),
        ({**SERVER, "APM": True}, "APM is True; a number"),
        ({**SERVER, "APM": None}, "APM is None; a number"),
        ({name: value for name, value in SERVER.items() if name not in ("AP75", "AR")}, "AP75, AR missing"),
        ({**SERVER, "AP": 0.95}, "AP is 0.95, above AP50, which is 0.919"),
        ({**SERVER, "AP50": 0.8}, "AP75 is 0.831, above AP50, which is 0.8"),
        ([0.1] * 9, "an object of names and numbers"),
        ("AP", "an object of names and numbers"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(tmp_path, stats, said):
    folder = finish(tmp_path, "table3_evopose2d_l")
    with pytest.raises(ArtifactError) as caught:
        enter(folder, "evopose2d_l", stats)
    assert said in str(caught.value) and str(caught.value).startswith(f"{folder}/answer.json: ")
    assert not (folder / "models/evopose2d_l/metrics_test_dev.json").exists()


def test_the_answer_of_the_server_is_entered_by_a_program(tmp_path):
    folder = finish(tmp_path, "table3_evopose2d_l")
    (tmp_path / "answer.json").write_text(json.dumps(SERVER))
    command = [sys.executable, str(ROOT / "scripts/enter_server_metrics.py"), "--stats", str(tmp_path / "answer.json")]
    for model, code, said in (
        ("evopose2d_l", 0, "written: "),
        ("evopose2d_x", 2, "no such folder of a trained network; name that of a final network"),
    ):
        done = subprocess.run(
            [*command, "--model", str(folder / "models" / model)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr
    assert server.read(folder / "models/evopose2d_l/metrics_test_dev.json") == SERVER
    assert not (folder / "models/evopose2d_x").exists()
    # What the user wrote is not deleted.
    (tmp_path / "answer.json").write_text("{AP: 0.7}")
    for stats, said in ((tmp_path / "answer.json", "write it anew"), (tmp_path / "no.json", "check its path")):
        with pytest.raises(ArtifactError, match=f"{stats}: .*; {said}$"):
            server.enter(stats, folder / "models/evopose2d_l")


# PoseTrack, and trainings that end early


PT, COCO_FIRST = "posetrack_evopose2d_s", "table3_evopose2d_s"


def test_a_result_on_posetrack_is_of_ground_truth_boxes(tmp_path):
    finish(tmp_path, COCO_FIRST)
    finish(tmp_path, PT, boxes=("ground_truth",), images=3902)
    sheet = table3.sheet(place(tmp_path))
    row = row_of(sheet, "EvoPose2D-S", "256x192", "yes", dataset=2)
    assert row["AP"] == "55.1 / 90.0"  # what `finish` has for ground truth boxes
    assert row["run here"] == "posetrack18, 256x192, 20 epochs, batch 512, preset paper, 8 x TPU v3"
    assert csv_row(sheet, PT)["status"] == "comparable" and csv_row(sheet, PT)["AP"] == 90.0
    # Boxes of a detector are not asked for, whatever else was measured.
    finish(tmp_path, PT, boxes=("ground_truth", "detections"))
    found = results.training(place(tmp_path), PT)
    assert (found.metrics["AP"], found.status) == (90.0, Status.COMPARABLE)
    # Nor is it trained from scratch.
    finish(tmp_path, PT, {"final": {"from_scratch": True}}, boxes=("ground_truth",))
    (problem,) = results.training(place(tmp_path), PT).problems
    assert "pretrained: new weights instead of results/table3_evopose2d_s/" in problem


def started_from(experiment):
    weights = f"results/{experiment}/models/evopose2d_s/weights.safetensors"
    return {"final": {"models": {"evopose2d_s": {"pretrained": weights}}}}


def test_a_result_on_posetrack_is_no_better_than_the_training_on_coco_that_it_starts_from(tmp_path):
    finish(tmp_path, PT, boxes=("ground_truth",))
    (problem,) = results.training(place(tmp_path), PT).problems
    assert problem == "differs in pretrained: by table3_evopose2d_s (not run)"
    finish(tmp_path, COCO_FIRST)
    assert results.training(place(tmp_path), PT).status is Status.COMPARABLE
    # Started from the weights of a training with other settings, or of another network's.
    finish(tmp_path, COCO_FIRST, {"final": {"train": {"epochs": 30}}})
    (problem,) = results.training(place(tmp_path), PT).problems
    assert problem.startswith(
        "differs in pretrained: by table3_evopose2d_s (not comparable: coco2017, 256x192, 30 epochs"
    )
    finish(tmp_path, COCO_FIRST)
    finish(tmp_path, PT, started_from("E3"), boxes=("ground_truth",))
    (problem,) = results.training(place(tmp_path), PT).problems
    assert problem.startswith(
        "differs in pretrained: results/E3/models/evopose2d_s/weights.safetensors instead of results/"
    )
    # Both under names with a prefix, or the first one without.
    for first, status in ((COCO_FIRST, Status.COMPARABLE), (f"my_{COCO_FIRST}", Status.OTHER)):
        finish(tmp_path, PT, started_from(first), name=f"my_{PT}", boxes=("ground_truth",))
        assert results.training(place(tmp_path, "my_"), PT).status is status
    finish(tmp_path, COCO_FIRST, name=f"my_{COCO_FIRST}")
    assert results.training(place(tmp_path, "my_"), PT).status is Status.COMPARABLE


def end_after(folder, losses):
    path = folder / "models/evopose2d_s/history.csv"
    write_history(path, len(losses))
    rows = artifacts.read_csv(path)
    for row, loss in zip(rows[1:], losses, strict=True):
        row["val_loss"] = loss
    artifacts.write_csv(path, rows, list(rows[0]))


@pytest.mark.parametrize(
    ("losses", "ended"),
    [
        ([9, 8, 7, 7, 8, 9, 9, 7], True),  # 5 epochs after the third
        ([9, 8, 7, 7, 8, 9, 9], False),  # it still runs
        ([9, 8, 7, 6, 5, 4, 3, 2], False),
        ([240] * 6, True),  # epoch 0 is not trained: the first one is the best
        ([240] * 5, False),
    ],
)
def test_a_training_that_was_stopped_early_is_finished(tmp_path, losses, ended):
    finish(tmp_path, COCO_FIRST)
    end_after(finish(tmp_path, PT, boxes=("ground_truth",)), losses)
    found = results.training(place(tmp_path), PT)
    if ended:
        assert (
            found.status is Status.COMPARABLE
            and f"preset paper (ended early, after {len(losses)}), 8 x" in found.described
        )
    else:
        assert found.described == f"unfinished: {len(losses)} of 20 epochs"


def test_without_patience_no_training_ends_early(tmp_path):
    end_after(finish(tmp_path, PT, {"final": {"train": {"patience": None}}}, boxes=("ground_truth",)), [5.0] * 19)
    assert results.training(place(tmp_path), PT).status is Status.UNFINISHED


def test_without_a_frame_rate_it_is_not_run(tmp_path):
    finish(tmp_path, XS)
    assert row_of(table3.sheet(place(tmp_path)), "EvoPose2D-XS")["FPS"] == "136 / not run"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"height": 64}, "height 64 instead of 256"),
        ({"batch": 8}, "batch 8 instead of 1"),
        ({"dtype": "bfloat16"}, "dtype bfloat16 instead of float32"),
        ({"fps": 0.0}, "not a frame rate"),
        ({"fps": "fast"}, "not a frame rate"),
    ],
)
def test_a_frame_rate_of_another_kind_is_not_shown(tmp_path, changes, said):
    write_latency(finish(tmp_path, XS), **changes)
    sheet = table3.sheet(place(tmp_path))
    row = row_of(sheet, "EvoPose2D-XS")
    assert (row["FPS"], row["AP"], row["frame rate measured on"]) == ("136 / -", "68.0 / 70.1", "see the notes")
    assert said in text(sheet)


def test_a_smoke_run_never_looks_like_a_reproduction(tmp_path):
    write_latency(finish(tmp_path, XS, SMOKE, name=f"smoke_{XS}", images=9))
    sheet = table3.sheet(place(tmp_path, "smoke_"))
    row = row_of(sheet, "EvoPose2D-XS")
    assert row["AP"] == "68.0 / (70.1)" and row["FPS"] == "136 / (87.7)"
    assert row["run here"].startswith("not comparable: smoke: synthetic, 64x64, 1 epoch, batch 8, preset paper")
    note = next(line for line in text(sheet).splitlines() if f"smoke_{XS}: differs in" in line)
    for said in (
        "dataset: smoke instead of coco2017",
        "synthetic: True instead of False",
        "model.height: 64 instead of 256",
        "model.train.epochs: 1 instead of 200",
        "model.train.batch: 8 instead of 512",
        "validation images: 9 instead of 5,000",
    ):
        assert said in note
    # Without the prefix it is not there.
    assert row_of(table3.sheet(place(tmp_path)), "EvoPose2D-XS")["AP"] == "68.0 / not run"


DIFFERENT = {
    "epochs": {"final": {"train": {"epochs": 140}}},
    "batch": {"final": {"train": {"batch": 256}}},
    "height": {"final": {"models": {"evopose2d_xs": {"height": 384}}}},
    "base_rate": {"final": {"train": {"base_rate": 1e-3}}},
    "precision": {"train": {"precision": "float32"}},
    "flip": {"final": {"train": {"augmentation": {"flip": 0.25}}}},
    "preset": {"preset": "released"},
    "flip_test": {"evaluation": {"flip_test": "off"}},
    "batch statistics": {"train": {"devices": 1}},
    "pretrained": {"final": {"models": {"evopose2d_xs": {"pretrained": "a.h5"}}}},
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_every_other_setting_is_named(tmp_path, name):
    finish(tmp_path, XS, DIFFERENT[name])
    found = results.training(place(tmp_path), XS)
    assert found.status is Status.OTHER
    assert f"{name}: " in found.problems[0] and found.described.startswith("not comparable: ")
    if name != "preset":
        assert found.problems[0].count(" instead of ") == 1, found.problems


def test_another_data_set_boxes_or_images_are_named(tmp_path):
    for name, change in {
        "data": lambda content: content["settings"].update(dataset="mine"),
        "old": lambda content: content["settings"].pop("flip_test"),
        "older": lambda content: content["settings"].pop("dataset"),
        "images": lambda content: content["models"][1].update(images=4999),
        "boxes": lambda content: content["models"].pop(1),
        "persons": lambda content: content["models"][1].update(left_out={"persons": 3}),
        "nobody": lambda content: content["models"][1].update(left_out={}),
    }.items():
        path = finish(tmp_path / name, XS) / "summary.json"
        content = artifacts.read_json(path)
        change(content)
        artifacts.write_json(path, content)
    said = {
        name: results.training(place(tmp_path / name), XS).problems
        for name in ("data", "old", "older", "images", "boxes", "persons", "nobody")
    }
    assert said == {
        "data": ("differs in dataset: mine instead of coco2017",),
        "old": ("differs in flip_test: unknown instead of aligned",),
        "older": ("differs in dataset: unknown instead of coco2017",),
        "images": ("differs in validation images: 4,999 instead of 5,000",),
        "boxes": ("differs in boxes: ground truth instead of detections",),
        "persons": ("differs in left out of the validation split: 3 persons",),
        "nobody": (),
    }
    boxes = row_of(table3.sheet(place(tmp_path / "boxes")), "EvoPose2D-XS")
    assert boxes["AP"] == "68.0 / (90.0)"


def test_another_machine_is_no_difference(tmp_path):
    finish(tmp_path, XS, SAME)
    found = results.training(place(tmp_path), XS)
    assert (found.status, found.problems) == (Status.COMPARABLE, ())
    moved = {"final": {"models": {"simple_baseline_r50": {"pretrained": "/elsewhere/r50.h5"}}}}
    finish(tmp_path, "table1_256", moved)
    assert results.training(place(tmp_path), "table1_256").status is Status.COMPARABLE


def test_weights_that_are_left_out_are_a_difference(tmp_path):
    finish(tmp_path, "table1_256", {"final": {"from_scratch": True}})
    (problem,) = results.training(place(tmp_path), "table1_256").problems
    assert "pretrained: new weights instead of data/imagenet/resnet50" in problem


# Half-finished and damaged


def test_a_training_that_runs_is_unfinished(tmp_path):
    history = tmp_path / "table1_256/models/simple_baseline_r50/history.csv"
    write_history(history, 37)
    sheet = table1.sheet(place(tmp_path))
    row = grid(sheet)[0]
    assert row["AP"] == "71.0 / unfinished" and row["training time (h)"] == "7.20 / unfinished"
    assert row["run here"] == "unfinished: 37 epochs so far"
    assert csv_row(sheet, "table1_256")["hours"] is None


@pytest.mark.parametrize("epochs", [None, 1, 199])
def test_a_summary_of_an_earlier_training_is_not_taken_for_the_one_that_runs(tmp_path, epochs):
    folder = finish(tmp_path, "table1_256")
    history = folder / "models/simple_baseline_r50/history.csv"
    history.unlink()
    if epochs:
        write_history(history, epochs)
    row = grid(table1.sheet(place(tmp_path)))[0]
    assert row["AP"] == "71.0 / unfinished" and row["run here"] == f"unfinished: {epochs or 0} of 200 epochs"


def damage(path, text):
    path.write_text(text)
    return path


DAMAGES = {
    "half a summary": lambda folder: damage(
        folder / "summary.json", (folder / "summary.json").read_text()[:700]
    ),
    "another JSON": lambda folder: damage(folder / "summary.json", "[1]"),
    "not a number": lambda folder: replaced(folder / "summary.json", "0.7012", "NaN"),
    "percent": lambda folder: replaced(folder / "summary.json", "0.7012", "70.12"),
    "no metric": lambda folder: replaced(folder / "summary.json", '"APM"', '"APX"'),
    "another network": lambda folder: replaced(folder / "summary.json", '"simple_baseline_r50"', '"other"'),
    "half a row": lambda folder: replaced(folder / "models/simple_baseline_r50/history.csv", "200,2000,", "200,2000"),
    "no loss": lambda folder: replaced(folder / "models/simple_baseline_r50/history.csv", "val_loss", "loss_of_val"),
    "words": lambda folder: replaced(folder / "models/simple_baseline_r50/history.csv", "36.0", "soon"),
    "binary": lambda folder: (folder / "models/simple_baseline_r50/history.csv").write_bytes(b"\xff\xfe\x00"),
}  # fmt: skip


def replaced(path, old, new):
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_result_is_marked_and_named(tmp_path, name):
    folder = finish(tmp_path, "table1_256")
    finish(tmp_path, "table1_512")
    DAMAGES[name](folder)
    sheet = table1.sheet(place(tmp_path))
    first, second = grid(sheet)[:2]
    assert first["AP"] == "71.0 / damaged" and first["training time (h)"] == "7.20 / damaged"
    assert first["run here"] == "damaged, see the notes"
    assert second["AP"] == "71.0 / 70.1"
    (note,) = [line for line in text(sheet).splitlines() if re.match(r"\d+\. ", line)]
    assert note.startswith("1. table1_256: ") and ("summary.json" in note or "history.csv" in note)
    written = csv_row(sheet, "table1_256")
    assert written["AP"] is None and written["status"] == "damaged"
    assert [row["status"] for row in sheet.rows[1:3]] == ["comparable", "not run"]


def test_seconds_that_were_not_measured_make_no_hours(tmp_path):
    folder = finish(tmp_path, "table1_256")
    rows = artifacts.read_csv(folder / "models/simple_baseline_r50/history.csv")
    rows[7]["seconds"] = ""
    artifacts.write_csv(folder / "models/simple_baseline_r50/history.csv", rows, list(rows[0]))
    assert grid(table1.sheet(place(tmp_path)))[0]["training time (h)"] == "7.20 / -"


def test_hours_of_a_smoke_run_have_digits(tmp_path):
    assert [table1.hours(value) for value in (5.404, 1.0, 0.5, 0.00123)] == ["5.40", "1.00", "0.5", "0.0012"]


# Table 2

OTHER = [[1, 3, 2, 1], [2, 5, 3, 2], [2, 5, 5, 2], [4, 3, 10, 2], [2, 5, 14, 1], [4, 5, 16, 2], [2, 3, 10, 1]]


def write_champion(folder: Path, genotype=OTHER, document=None) -> Architecture:
    network = Architecture.from_space(genotype, PAPER_SPACE, 256, 192)
    files.save(folder / "champion.safetensors", network, initial_weights(network, 0))
    champion = population.Individual(
        rank=0, genotype=key(genotype if document is None else document), loss=29.0, parameters=1, multiply_adds=1, status="ok", fitness=28.0,
        origin=population.Origin(generation=1, child=1),
    )  # fmt: skip
    population.write(folder / "champion.json", champion)
    return network


SHORT = {"search": {"generations": 2}}


def as_long_as_meant(generations=16):
    return [
        *POOLS,
        *([(1, 1, 29.0, 3_000_000, 28.0), (g, 0, 35.0, 3_000_000, 34.0)] for g in range(3, generations + 1)),
    ]


def test_the_champion_stands_beside_evopose2d_s(tmp_path):
    network = write_champion(finish_search(tmp_path, "E3", pools=as_long_as_meant()))
    sheet = table2.sheet(place(tmp_path))
    rows = {row.pop("component"): row for row in grid(sheet)}
    for module, (paper_genes, own) in enumerate(zip(EVOPOSE2D_S.tolist(), OTHER, strict=True), start=1):
        for column, gene, unit in (("blocks", 0, 1), ("kernel", 1, 1), ("channels", 2, 8), ("stride", 3, 1)):
            assert rows[f"module {module}"][column] == f"{unit * paper_genes[gene]} / {unit * own[gene]}"
    assert rows["module 6"]["output"] == "16x12 / 8x6" and rows["heat maps"]["output"] == "128x96 / 64x48"
    assert "coco2017, 256x192, 16 generations, 5 epochs, batch 512, preset paper" in text(sheet)
    counts = grid(sheet, 1)
    assert counts[0]["EvoPose2D-S: paper / computed"] == "2.53 / 2.531 ="
    assert counts[0]["champion found here"] == f"{count_network(network)['parameters'] / 1e6:.3f}"
    assert counts[1]["champion found here"] == f"{profiled_multiply_adds(network) / 1e9:.3f}"


def test_a_short_or_another_search_has_no_comparable_champion(tmp_path):
    write_champion(finish_search(tmp_path, "E3", SHORT))
    sheet = table2.sheet(place(tmp_path))
    assert grid(sheet)[1]["blocks"] == "1 / unfinished" and "unfinished: 2 of 16 generations" in text(sheet)
    write_champion(finish_search(tmp_path, "E3", SMOKE, name="smoke_E3"))
    sheet = table2.sheet(place(tmp_path, "smoke_"))
    assert grid(sheet)[2]["kernel"] == "3 / (5)"
    assert "not comparable: smoke: synthetic, 64x64, 2 generations, 1 epoch, batch 8" in text(sheet)
    assert "search.children: 2 instead of 64" in text(sheet) and "search.ancestor: another value;" in text(sheet)
    assert sheet.rows[2]["status"] == "not comparable"


def test_a_search_that_runs_or_is_damaged_has_no_champion(tmp_path):
    write_pools(tmp_path / "runs/E3")
    assert grid(table2.sheet(place(tmp_path / "runs")))[0]["blocks"] == "1 / unfinished"
    folder = finish_search(tmp_path, "E3", pools=as_long_as_meant())
    assert grid(table2.sheet(place(tmp_path)))[0]["blocks"] == "1 / damaged"  # champion.safetensors is not there
    write_champion(folder, document=EVOPOSE2D_S)
    sheet = table2.sheet(place(tmp_path))
    assert grid(sheet)[0]["blocks"] == "1 / damaged" and "not the network of champion.json beside it" in text(sheet)


# What is common to all


def numbers(words):
    """Every number in a text, those with commas between thousands included."""
    return set(re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", words))


def numbers_of_file(path):
    return numbers(path.read_text().replace(",", " "))


def test_no_number_is_invented(tmp_path):
    """Whatever number is new with results is in a result file, or one of its values in the table's unit."""
    write_latency(finish(tmp_path, XS, APL=0.1234))
    finish(tmp_path, "table1_1024", seconds=85.5, AP=0.4321)
    write_champion(finish_search(tmp_path, "E3", pools=as_long_as_meant()))
    empty = tmp_path / "empty"
    for table in (table1, table2, table3):
        base = numbers(text(table.sheet(place(empty))))
        new = numbers(text(table.sheet(place(tmp_path)))) - base
        known = set()
        for path in (path for path in tmp_path.rglob("*") if path.suffix in (".json", ".csv")):
            for word in numbers_of_file(path):
                value = float(word)
                known |= {word, f"{value:.1f}", f"{value:,.0f}", f"{100 * value:.1f}"}
        if table is table1:
            known.add(f"{200 * 85.5 / 3600:.2f}")
        if table is table2:
            network = Architecture.from_space(OTHER, PAPER_SPACE, 256, 192)
            known |= {
                f"{count_network(network)['parameters'] / 1e6:.3f}",
                f"{profiled_multiply_adds(network) / 1e9:.3f}",
            }
            sizes = {f"{side}" for layer in network.layers() for side in (*layer.out_size, layer.out_channels)}
            known |= sizes | {f"{network.height}", f"{network.width}"}
        assert new and new <= known, (table.__name__, new - known)


def test_without_results_every_number_is_the_papers_or_computed(tmp_path):
    printed = numbers_of_file(ROOT / "pipeline_lib/paper/table3.csv")
    sheet = table3.sheet(place(tmp_path))
    computed = set()
    for row in paper.table3():
        if row.network:
            network = registry.architecture(row.network, row.height, row.width, 17)
            computed |= {
                f"{count_network(network)['parameters'] / 1e6:.3f}",
                f"{profiled_multiply_adds(network) / 1e9:.3f}",
                f"{files.size(network) / 1e6:.2f}",
            }
    for dataset in range(3):
        for row in grid(sheet, dataset):
            for name in ("params (M)", "FLOPs (G)", "size (MB)", "FPS", *METRICS):
                theirs, own = row[name].split(" / ")
                assert numbers(theirs) <= printed and numbers(own) <= computed, row


def test_pages_have_the_cells_of_the_markdown(tmp_path):
    finish(tmp_path, "table1_256")
    sheet = table1.sheet(place(tmp_path))
    page = pages.as_html(sheet.title, sheet.parts)
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", page)
    assert cells == [cell for row in tables_of(text(sheet))[0] for cell in row]
    assert "<h1>Table 1: batch size</h1>" in page and "http" not in page and "<h2>" not in page


@pytest.mark.parametrize("table", [table1, table2, table3, table4, table5])
def test_rows_have_the_columns(tmp_path, table):
    sheet = table.sheet() if table in (table4, table5) else table.sheet(place(tmp_path))
    assert len(set(sheet.columns)) == len(sheet.columns)
    for row in sheet.rows:
        assert set(row) == set(sheet.columns)


def test_an_experiment_without_its_file_is_an_error(tmp_path):
    elsewhere = dataclasses.replace(place(tmp_path), experiments=tmp_path)
    with pytest.raises(ConfigError, match=r"table1_256\.yaml: cannot be read"):
        table1.sheet(elsewhere)


def test_settings_that_are_meant_differ_from_themselves_in_nothing():
    for name in experiments.names():
        own = settings(name)
        assert facts.differences(own, own) == []
    assert facts.differences({}, {"a": 1, "b": {"c": 2}}) == [
        "a: unknown instead of 1",
        "b: unknown instead of {'c': 2}",
    ]
    assert facts.differences({"devices": 2, "accumulation": 2}, {"devices": 8, "accumulation": 1}) == [
        "batch statistics: over 1/4 of the batch instead of 1/8"
    ]


def test_files_are_those_of_the_item_alone(tmp_path):
    finish(tmp_path, "table1_256")
    write_latency(finish(tmp_path, XS))
    write_champion(finish_search(tmp_path, "E3"))
    finish_search(tmp_path, "E1")
    (tmp_path / "table1_256/models/simple_baseline_r50/weights.safetensors").touch()
    enter(tmp_path / XS, "evopose2d_xs", SERVER)

    def found(item, prefix=""):
        paths = experiments.files(item, tmp_path, prefix, ROOT / "config/experiments")
        own = [str(path.relative_to(tmp_path)) for path in paths if path.is_relative_to(tmp_path)]
        return own, {path.stem for path in paths if path.suffix == ".yaml"}

    training = ["table1_256/summary.json", "table1_256/models/simple_baseline_r50/history.csv"]
    pools = [f"search/gen_{generation:03d}/population.csv" for generation in range(3)]
    network = [f"{XS}/summary.json", f"{XS}/models/evopose2d_xs/history.csv"]
    first = {"table1_256", "table1_512", "table1_1024", "table1_2048", "table1_2048_nowarmup", "table1_2048_noscaling"}
    assert found("table_1") == found("figure_4") == (training, first)
    champion = ["E3/champion.json", "E3/champion.safetensors"]
    assert found("table_2") == (["E3/summary.json", *(f"E3/{name}" for name in pools), *champion], {"E3"})
    assert found("table_3")[0] == [
        *network,
        *(f"{XS}/models/evopose2d_xs/{name}.json" for name in ("latency", "metrics_test_dev")),
    ]
    assert (
        found("figure_1")[0] == network
        and found("table_3")[1] == found("figure_1")[1]
        and len(found("table_3")[1]) == 20 + 4
    )
    assert found("table_4") == found("table_5") == ([], set())
    assert found("figure_5")[0] == [f"{name}/{file}" for name in ("E1", "E3") for file in ("summary.json", *pools)]
    assert found("figure_5")[1] == {"E1", "E2", "E3", "E3_scratch"}
    assert found("table_1", "smoke_") == ([], first)


def test_program_prints_what_it_writes(tmp_path):
    finish(tmp_path, "table1_256", name="my table1_256")
    command = [
        *(sys.executable, str(ROOT / "scripts/paper.py"), "table_1", "--results", str(tmp_path), "--prefix", "my "),
        *("--csv", str(tmp_path / "t.csv"), "--markdown", str(tmp_path / "t.md"), "--html", str(tmp_path / "t.html")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "t.md").read_text() == text(table1.sheet(place(tmp_path, "my ")))
    assert "71.0 / 70.1" in done.stdout and "71.0 / 70.1" in (tmp_path / "t.html").read_text()
    rows = artifacts.read_csv(tmp_path / "t.csv")
    assert rows[0]["AP"] == "70.12" and rows[1]["AP"] == "" and len(rows) == 6
    assert Decimal(rows[0]["paper_AP"]) == Decimal("71.0")
    assert json.loads(json.dumps(rows))


def test_program_names_a_folder_that_is_not_there(tmp_path):
    command = [sys.executable, str(ROOT / "scripts/paper.py"), "table_5", "--results", str(tmp_path / "nothing")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "nothing: no such folder" in done.stderr and done.stdout == ""
