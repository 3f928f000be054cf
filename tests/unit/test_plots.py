"""Figures: what is drawn, and that equal data give equal files."""

import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline_lib import artifacts
from pipeline_lib.config import COCO_KEYPOINTS, PAPER_SPACE, KeypointSchema
from pipeline_lib.errors import ArtifactError, ConfigError, DataError
from pipeline_lib.nets import files
from pipeline_lib.nets.spec import Architecture, initial_weights
from pipeline_lib.plots import architecture, comparison, curves, fitness, metrics, overlays, pareto, style, tables
from pipeline_lib.plots.tables import Comparison, Epoch, Individual
from pipeline_lib.search.genotype import ANCESTOR, EVOPOSE2D_S
from scripts import plot as plot_program

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def individual(generation, child, loss, parameters, fitness, rank=0, survivor=False, status="ok"):
    return Individual(rank, generation, child, loss, parameters, 10, fitness, status, survivor, "1.3.2.1")


# Generation 1's best is a child, generation 2's is the same individual, which survived; one training failed.
POOLS = {
    0: [individual(0, 0, 120.0, 200_000, 110.0, survivor=True)],
    1: [
        individual(1, 2, 116.0, 150_000, 105.0, 0, survivor=True),
        individual(0, 0, 120.0, 200_000, 110.0, 1),
        individual(1, 0, 119.0, 250_000, 111.0, 2),
        individual(1, 1, None, 180_000, None, 3, status="failed"),
    ],
    2: [
        individual(1, 2, 116.0, 150_000, 105.0, 0, survivor=True),
        individual(2, 0, 113.0, 300_000, 106.0, 1),
        individual(2, 1, 117.0, 160_000, 107.0, 2),
    ],
}


def drawn(figure, tmp_path, name="figure.svg"):
    style.save(figure, tmp_path / name)
    return ElementTree.fromstring((tmp_path / name).read_text())


def texts(root):
    return ["".join(text.itertext()).strip() for text in root.iter(f"{SVG}text")]


def markers(root, gid):
    """The (x, y) positions of the markers drawn under the id `gid`, from left to right."""
    (group,) = (group for group in root.iter(f"{SVG}g") if group.get("id") == gid)
    return sorted((float(use.get("x")), float(use.get("y"))) for use in group.iter(f"{SVG}use"))


def linear(values, positions):
    """Whether positions on a linear axis are those of `values`."""
    slope, offset = np.polyfit(values, positions, 1)
    return slope != 0 and np.allclose(slope * np.asarray(values) + offset, positions, atol=1e-3)


def test_fitness_figure_shows_best_and_all_children(tmp_path):
    root = drawn(fitness.draw(POOLS), tmp_path)
    best, loss, children = (markers(root, gid) for gid in ("best", "loss", "children"))
    assert len(children) == 1 + 2 + 2  # each once, in the generation of its birth; the failed one has no fitness
    heights = [y for _, y in best] + [y for _, y in loss] + [y for _, y in children]
    assert linear([110, 105, 105, 120, 116, 116], heights[:6])
    slope, offset = np.polyfit([110, 105, 105, 120, 116, 116], heights[:6], 1)
    assert sorted((y - offset) / slope for _, y in children) == pytest.approx([105, 106, 107, 110, 111], abs=1e-3)
    assert slope < 0  # SVG counts from the top: a larger loss is higher up
    assert best[0][0] == pytest.approx(children[0][0], abs=1e-3)  # the ancestor's marker lies on its generation
    assert {"best fitness J", "its validation loss", "not shown: 1 failed"} <= set(texts(root))
    assert any(text.startswith("generation") for text in texts(root))


def test_children_lie_around_their_generation():
    axes = fitness.draw(POOLS).axes[0]
    (children,) = (found for found in axes.collections if found.get_gid() == "children")
    apart = fitness.SPREAD
    assert sorted(children.get_offsets()[:, 0]) == pytest.approx([0, 1 - apart, 1 + apart, 2 - apart, 2 + apart])
    assert 0 < apart < 0.5, "nobody lies in another generation"
    assert axes.get_xlim() == (-0.5, 2.5)


def test_a_failed_training_counts_once(tmp_path):
    failed = individual(0, 0, None, 200_000, None, status="failed")
    pools = {0: [failed], 1: [individual(1, 0, 5.0, 200_000, 6.0), failed]}
    root = drawn(fitness.draw(pools), tmp_path)
    assert "not shown: 1 failed" in texts(root)
    assert len(markers(root, "children")) == len(markers(root, "best")) == 1


def test_pareto_figure_shows_everyone_once(tmp_path):
    root = drawn(pareto.draw(tables.everyone(POOLS), (1, 2)), tmp_path)
    networks = markers(root, "networks")
    assert len(networks) == 5
    assert linear(sorted([0.2, 0.15, 0.25, 0.3, 0.16]), [x for x, _ in networks])
    by_size = [116, 117, 120, 119, 113]
    assert linear(by_size, [y for _, y in networks])
    assert len(markers(root, "survivors")) == 2
    assert markers(root, "champion")[0] == pytest.approx(networks[0], abs=1e-3)
    assert markers(root, "survivors")[0] == pytest.approx(networks[0], abs=1e-3)
    assert {"parameters (M)", "generation", "champion (lowest fitness)"} <= set(texts(root))


def test_pareto_figure_refuses_an_unknown_champion():
    with pytest.raises(ArtifactError, match="generation 7, child 1"):
        pareto.draw(tables.everyone(POOLS), (7, 1))


def test_front_keeps_what_nothing_dominates():
    rng = np.random.default_rng(3)
    points = [tuple(point) for point in rng.integers(0, 12, (60, 2)).tolist()]
    dominated = {p for p in points if any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)}
    assert pareto.front(points) == sorted(set(points) - dominated)


def test_curves_show_every_history(tmp_path):
    histories = {
        "child_00": [Epoch(0, None, 240.0, None), Epoch(1, 160.0, 150.0, 2e-3), Epoch(2, 121.0, 120.0, 1e-3)],
        "child_01": [Epoch(1, 130.0, 131.0, 2e-3), Epoch(2, 120.0, 119.0, 1e-3)],
    }
    root = drawn(curves.draw(histories, "Generation 1"), tmp_path)
    first, second = markers(root, "val_loss:child_00"), markers(root, "val_loss:child_01")
    assert (len(first), len(second)) == (3, 2)
    assert linear([0, 1, 2, 1, 2], [x for x, _ in first + second])
    assert linear(np.log([240, 150, 120, 131, 119]), [y for _, y in first + second])
    assert {"Generation 1", "child_00", "child_01", "epoch", "training data", "validation"} <= set(texts(root))


def test_curves_tell_training_from_validation():
    losses, rates = curves.draw(
        {"a": [Epoch(0, None, 9.0, None), Epoch(1, 5.0, 6.0, 0.1), Epoch(2, 3.0, 4.0, 0.2)]}
    ).axes
    shown = {line.get_linestyle(): line.get_xydata().tolist() for line in losses.lines}
    assert shown == {"--": [[1, 5], [2, 3]], "-": [[0, 9], [1, 6], [2, 4]]}  # as the legend says
    assert [line.get_xydata().tolist() for line in rates.lines] == [[[1, 0.1], [2, 0.2]]]
    assert rates.get_ylim()[0] == 0 and losses.get_yscale() == "log"


def test_curves_show_a_single_epoch(tmp_path):
    one = [Epoch(0, None, 9.0, None), Epoch(1, 5.0, 6.0, 1e-3)]
    root = drawn(curves.draw({"one": one}), tmp_path)
    assert [len(markers(root, f"{column}:one")) for column in ("data_loss", "val_loss", "learning_rate")] == [1, 2, 1]
    root = drawn(curves.draw({"two": [*one, Epoch(2, 4.0, 5.0, 1e-3)]}), tmp_path)
    assert markers(root, "data_loss:two") == []  # a thin line


def test_curves_have_a_colour_for_each_of_many():
    figure = curves.draw({str(index): [Epoch(1, 1.0, 1.0 + index, 1e-3)] for index in range(40)})
    colors = {
        line.get_color() if isinstance(line.get_color(), str) else tuple(line.get_color())
        for line in figure.axes[0].lines
    }
    assert len(colors) == 40


ROWS = [
    Comparison(0, "module 3 kernel 5->3", 0.98, 121.0, 112.0, 241.0, 230.0, 117.0, 111.0),
    Comparison(1, "module 6 stride 2->1", 0.5, 228.0, 113.5, 240.0, 105.0, 117.0, 111.0),
]


def test_comparison_figure_has_four_losses_a_child(tmp_path):
    figure = comparison.draw(ROWS)
    root = drawn(figure, tmp_path)
    expected = {
        "transferred_initial": [121, 228], "transferred_final": [112, 113.5],
        "scratch_initial": [241, 240], "scratch_final": [230, 105],
    }  # fmt: skip
    places, values = [], []
    for gid, losses in expected.items():
        found = sorted(markers(root, gid), key=lambda point: point[1])  # by child, from the top
        places += [x for x, _ in found]
        values += losses
    assert linear(np.log(values), places)
    shown = texts(root)
    assert {"module 3 kernel 5->3", "child 0, 98% inherited", "module 6 stride 2->1", "weight transfer"} <= set(shown)
    assert [line.get_xdata()[0] for line in figure.axes[0].lines] == [117.0, 111.0]


FAILED = Comparison(2, "module 1 kernel 3->5", 0.9, 130.0, None, None, 200.0, 117.0, None)


def test_failed_trainings_are_left_out_of_the_comparison(tmp_path):
    figure = comparison.draw([FAILED, *ROWS])
    root = drawn(figure, tmp_path)
    found = {gid: len(markers(root, gid)) for gid in ("transferred_initial", "transferred_final", "scratch_initial")}
    assert found == {"transferred_initial": 3, "transferred_final": 2, "scratch_initial": 2}
    assert [line.get_xdata()[0] for line in figure.axes[0].lines] == [117.0]
    assert comparison.cells([FAILED])[0][3:] == ("130.0", "failed", "failed", "200.0", "failed")
    said = comparison.outcome([FAILED, *ROWS])
    assert "112.8 with weight transfer, 167.5 from scratch, failed for the ancestor" in said
    assert "1 of 2 children. 1 of 3 children are left out: a training failed." in said
    assert comparison.outcome([FAILED]).startswith("Nothing can be compared.")


def test_failed_trainings_are_read(tmp_path):
    artifacts.write_csv(tmp_path / "comparison.csv", [asdict(FAILED)], list(asdict(FAILED)))
    assert tables.read_comparison(tmp_path / "comparison.csv") == [FAILED]


def test_comparison_table():
    text = comparison.summary_text(ROWS)
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if "|" in line]
    assert cells[0][3:] == ["transfer: start", "transfer: end", "scratch: start", "scratch: end", "control: end"]
    assert cells[2] == ["0", "module 3 kernel 5->3", "98%", "121.0", "112.0", "241.0", "230.0", "111.0"]
    assert cells[3][2:] == ["50%", "228.0", "113.5", "240.0", "105.0", "111.0"]
    assert "112.8 with weight transfer, 167.5 from scratch, 111.0 for the ancestor trained on (from 117.0)" in text
    assert "lower with transfer for 1 of 2 children" in text
    assert "lower with transfer for 1 of 1 children" in comparison.outcome(ROWS[:1])
    assert "lower with transfer for 0 of 1 children" in comparison.outcome(ROWS[1:])


def test_metrics_figure_prints_values_and_marks_undefined(tmp_path):
    values = dict.fromkeys(metrics.METRICS, 0.5) | {"AP": 0.43, "APL": -1.0}
    root = drawn(
        metrics.draw({"network": values, "mean pose": dict.fromkeys(metrics.METRICS, 0.08)}, ["mean pose"]), tmp_path
    )
    shown = texts(root)
    assert shown.count("0.50") == 4 and shown.count("0.43") == 1 and shown.count("–") == 1 and shown.count("0.08") == 6
    assert set(metrics.METRICS) <= set(shown)


def test_architecture_table_is_the_papers():
    # Paper, Table 2 (EvoPose2D-S at 256x192) and its text: the lowest resolution is 1/16 of the input.
    table = architecture.stages(Architecture.from_space(EVOPOSE2D_S, PAPER_SPACE, 256, 192))
    modules = [stage for stage in table if stage.name.startswith("module")]
    assert [[m.blocks, m.kernel, m.channels // 8, int(m.stride)] for m in modules] == EVOPOSE2D_S.tolist()
    assert [m.size for m in modules] == [(128, 96), (64, 48), (32, 24), (16, 12), (16, 12), (16, 12), (16, 12)]
    assert table[0][:5] == ("stem", (128, 96), 1, 3, 32)
    assert [stage.size for stage in table[8:]] == [(32, 24), (64, 48), (128, 96), (128, 96)]
    assert table[-1].channels == 17


def test_architecture_figure_marks_what_differs(tmp_path):
    networks = {
        name: Architecture.from_space(genotype, PAPER_SPACE, 256, 192)
        for name, genotype in (("Ancestor", ANCESTOR), ("EvoPose2D-S", EVOPOSE2D_S))
    }
    figure = architecture.draw(networks)
    root = drawn(figure, tmp_path)
    assert {"Ancestor", "EvoPose2D-S"} <= set(texts(root))
    assert any("2.531 M parameters, 1064.1 M multiply-adds, overall stride 16" in text for text in texts(root))
    marked = [[text.get_text() for text in axes.texts if text.get_color() == style.VERMILLION] for axes in figure.axes]
    assert marked[0] == []
    # Module 2: blocks 3; 4: blocks 4; 5: blocks 2; 6: size, channels, stride; 7: size, blocks, channels; head: sizes.
    assert marked[1] == [
        "3",
        "4",
        "2",
        *("16×12", "128", "1"),
        *("16×12", "2", "80"),
        *("32×24", "64×48", "128×96"),
        "128×96",
    ]


@pytest.mark.parametrize("name", ["figure.svg", "figure.png"])
def test_equal_figures_are_equal_files(tmp_path, name):
    for folder in ("first", "second"):
        style.save(pareto.draw(tables.everyone(POOLS), (1, 2)), tmp_path / folder / name)
    content = (tmp_path / "first" / name).read_bytes()
    assert content == (tmp_path / "second" / name).read_bytes()
    assert b"<dc:date>" not in content


@pytest.mark.parametrize("name", ["figure.svg", "figure.png", "sheet.png"])
def test_a_viewer_of_the_old_picture_keeps_it(tmp_path, name):
    def write(size):
        if name == "sheet.png":
            overlays.save(Image.new("RGB", (size, size)), tmp_path / name)
        else:
            style.save(Figure(figsize=(size, 1)), tmp_path / name)

    write(3)
    old = (tmp_path / name).read_bytes()
    with (tmp_path / name).open("rb", buffering=0) as viewer:
        start = viewer.read(9)
        write(2)
        assert start + viewer.read() == old != (tmp_path / name).read_bytes()


def test_figures_leave_matplotlibs_settings_alone(tmp_path):
    import matplotlib

    matplotlib.get_backend()  # is looked for at its first use
    before = matplotlib.rcParams.copy()
    style.save(fitness.draw(POOLS), tmp_path / "figure.svg")
    assert matplotlib.rcParams == before


def test_other_file_types_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="svg or png"):
        style.save(fitness.draw(POOLS), tmp_path / "figure.gif")
    with pytest.raises(ConfigError, match=r"\.png"):
        overlays.save(Image.new("RGB", (2, 2)), tmp_path / "sheet.gif")


# Tables


def population(path, rows):
    columns = (
        "rank",
        "generation",
        "child",
        "loss",
        "parameters",
        "multiply_adds",
        "fitness",
        "status",
        "survivor",
        "genotype",
        "reason",
    )
    artifacts.write_csv(path, [dict(zip(columns, row, strict=True)) for row in rows], columns)


def test_populations_are_read_by_generation_and_rank(tmp_path):
    population(
        tmp_path / "b.csv",
        [(1, 0, 0, 120.0, 7, 9, 110.5, "ok", 0, "g", ""), (0, 2, 1, 115.0, 8, 9, 99.0, "ok", 1, "h", "")],
    )
    population(
        tmp_path / "a.csv",
        [(0, 0, 0, 120.0, 7, 9, 110.5, "ok", 1, "g", ""), (1, 1, 0, None, 7, 9, None, "failed", 0, "i", "why")],
    )
    pools = tables.read_populations([tmp_path / "b.csv", tmp_path / "a.csv"])
    assert list(pools) == [1, 2]
    assert pools[2][0] == Individual(0, 2, 1, 115.0, 8, 9, 99.0, "ok", True, "h")
    assert (pools[1][1].reason, pools[2][0].reason) == ("why", "")
    assert pools[1][1].loss is None and pools[1][1].fitness is None
    everyone = tables.everyone(pools)
    assert [one.name for one in everyone] == [(0, 0), (1, 0), (2, 1)]
    assert [one.survivor for one in everyone] == [True, False, True]  # the ancestor survived one of its selections
    with pytest.raises(ArtifactError, match="generation 2 already"):
        tables.read_populations([tmp_path / "b.csv", tmp_path / "b.csv"])


def test_histories_are_read_by_epoch_without_what_is_no_number(tmp_path):
    columns = ("epoch", "data_loss", "val_loss", "learning_rate")
    rows = [(10, "nan", "inf", 0.25), (2, 1.5, 2.5, 0.5), (0, None, 9.0, None)]
    artifacts.write_csv(tmp_path / "history.csv", [dict(zip(columns, row, strict=True)) for row in rows], columns)
    assert tables.read_history(tmp_path / "history.csv") == [
        Epoch(0, None, 9.0, None), Epoch(2, 1.5, 2.5, 0.5), Epoch(10, None, None, 0.25),
    ]  # fmt: skip


def test_broken_tables_are_named(tmp_path):
    path = tmp_path / "history.csv"
    artifacts.write_csv(path, [], ("epoch",))
    with pytest.raises(ArtifactError, match=r"history\.csv: has no rows"):
        tables.read_history(path)
    artifacts.write_csv(path, [{"epoch": 1, "data_loss": 1, "val_loss": 1}], ("epoch", "data_loss", "val_loss"))
    with pytest.raises(ArtifactError, match=r"history\.csv, line 2: there is no column learning_rate"):
        tables.read_history(path)
    row = {"epoch": 1, "data_loss": "x", "val_loss": 1, "learning_rate": 1}
    artifacts.write_csv(path, [row], tuple(row))
    with pytest.raises(ArtifactError, match="line 2, column data_loss: 'x' is not a number"):
        tables.read_history(path)


def test_markdown_is_aligned_and_escaped():
    lines = tables.markdown(("name", "AP"), [("a|b", "0.5"), ("c", "0.123")]).splitlines()
    assert lines == ["| name |    AP |", "| ---- | ----: |", "| a\\|b |   0.5 |", "| c    | 0.123 |"]


# Overlays

PAIR = KeypointSchema(
    names=("nose", "left_hand", "right_hand"),
    flip_pairs=(("left_hand", "right_hand"),),
    skeleton=(("left_hand", "nose"), ("left_hand", "right_hand")),
    sigmas=(0.05, 0.1, 0.1),
)


def annotation(identifier, keypoints, image=1, box=(0, 0, 96, 128), **more):
    return {
        "id": identifier,
        "image_id": image,
        "keypoints": keypoints,
        "bbox": list(box),
        "area": 5000.0,
        "iscrowd": 0,
    } | more


def test_similarity_is_pycocotools():
    rng = np.random.default_rng(0)
    truth = np.concatenate([rng.uniform(0, 100, (17, 2)), rng.integers(0, 3, (17, 1))], axis=1)
    found = truth + np.concatenate([rng.normal(0, 6, (17, 2)), np.zeros((17, 1))], axis=1)
    coco, result = COCO(), COCO()
    base = {"category_id": 1, "num_keypoints": int((truth[:, 2] > 0).sum())}
    coco.dataset = {
        "images": [{"id": 1}],
        "categories": [{"id": 1}],
        "annotations": [annotation(1, truth.ravel().tolist()) | base],
    }
    result.dataset = coco.dataset | {"annotations": [annotation(1, found.ravel().tolist()) | base | {"score": 1.0}]}
    coco.createIndex()
    result.createIndex()
    evaluation = COCOeval(coco, result, "keypoints")
    evaluation.evaluate()
    expected = float(evaluation.ious[1, 1].item())
    assert 0.1 < expected < 0.95
    assert overlays.similarity(found, truth, 5000.0, COCO_KEYPOINTS.sigmas) == pytest.approx(expected, rel=1e-9)
    truth[:, 2] = 0
    assert overlays.similarity(found, truth, 5000.0, COCO_KEYPOINTS.sigmas) == 0


@pytest.mark.parametrize("order", [1, -1])
def test_predictions_are_paired_one_to_one_by_similarity(order):
    here, there = [10, 10, 2, 20, 20, 2, 30, 30, 2], [14, 10, 2, 24, 20, 2, 34, 30, 2]
    near_there = [13, 10, 1, 23, 20, 1, 33, 30, 1]  # nearer to there than to here
    far = [40, 10, 1, 50, 20, 1, 60, 30, 1]
    people = overlays.persons(
        [
            annotation(3, there),
            annotation(2, here),
            annotation(4, here, image=2),
            annotation(5, here, iscrowd=1),
            annotation(6, [0] * 9),
        ],
        [{"image_id": 1, "keypoints": far}, {"image_id": 1, "keypoints": near_there}][::order],
        PAIR.sigmas,
    )
    assert [person.annotation["id"] for person in people] == [2, 3, 4]
    assert people[1].prediction[0, 0] == 13 and people[0].prediction[0, 0] == 40
    assert people[1].similarity > people[0].similarity > 0
    assert people[2].prediction is None and people[2].similarity == 0
    with pytest.raises(DataError, match="51 keypoint numbers"):
        overlays.persons([annotation(1, [1] * 51)], [], PAIR.sigmas)


def test_the_nearest_person_has_the_only_prediction():
    first, second = [10, 10, 2, 20, 20, 2, 30, 30, 2], [14, 10, 2, 24, 20, 2, 34, 30, 2]
    for found, expected in ((first, [True, False]), (second, [False, True])):
        people = [annotation(1, first), annotation(2, second)]
        paired = overlays.persons(people, [{"image_id": 1, "keypoints": found}], PAIR.sigmas)
        assert [person.prediction is not None for person in paired] == expected
        assert [person.similarity == pytest.approx(1) for person in paired] == expected


def test_choice_is_spread_evenly():
    assert overlays.choose(list(range(100)), 5) == [10, 30, 50, 70, 90]
    assert overlays.choose(list(range(3)), 5) == [0, 1, 2]
    assert len(set(overlays.choose(list(range(13)), 12))) == 12


def test_skeleton_colours_sides_and_leaves_hollow_what_does_not_count():
    keypoints = np.array([[50.0, 20.0, 2], [20.0, 80.0, 2], [80.0, 80.0, 2]])
    picture = np.full((100, 100, 3), 100, np.uint8)
    overlays.skeleton(picture, keypoints, np.array([True, True, True]), PAIR)
    assert tuple(picture[80, 20]) == overlays.LEFT and tuple(picture[80, 80]) == overlays.RIGHT
    assert tuple(picture[20, 50]) == overlays.MIDDLE
    assert tuple(picture[80, 50]) == overlays.MIDDLE  # between both sides
    assert tuple(picture[50, 35]) == overlays.MIDDLE  # from the nose
    assert tuple(picture[50, 65]) == (100, 100, 100)  # not in the skeleton

    picture = np.full((100, 100, 3), 100, np.uint8)
    overlays.skeleton(picture, keypoints, np.array([True, False, True]), PAIR)
    assert tuple(picture[80, 20]) == (100, 100, 100)  # hollow
    assert not (picture[74:87, 14:27] == 100).all()
    assert tuple(picture[80, 50]) == (100, 100, 100)  # no limb


def test_limbs_of_one_side_have_its_colour():
    schema = KeypointSchema(
        names=("lh", "le", "rh", "re"),
        flip_pairs=(("lh", "rh"), ("le", "re")),
        skeleton=(("lh", "le"), ("rh", "re")),
        sigmas=(0.1,) * 4,
    )
    picture = np.zeros((100, 100, 3), np.uint8)
    overlays.skeleton(picture, np.array([[20.0, 10], [20, 90], [80, 10], [80, 90]]), np.ones(4, bool), schema)
    assert tuple(picture[50, 20]) == overlays.LEFT and tuple(picture[50, 80]) == overlays.RIGHT


def test_crop_shows_the_box_in_the_middle():
    matrix = overlays.crop_transform([10, 20, 96, 128])
    corners = np.array([[10, 20], [106, 148], [58, 84]]) @ matrix[:, :2].T + matrix[:, 2]
    assert corners[2] == pytest.approx([overlays.PANEL_WIDTH / 2, overlays.PANEL_HEIGHT / 2])
    assert corners[1] - corners[0] == pytest.approx([overlays.PANEL_WIDTH / 1.25, overlays.PANEL_HEIGHT / 1.25])
    wide = overlays.crop_transform([0, 0, 200, 10])
    assert wide[0, 0] == wide[1, 1] == pytest.approx(overlays.PANEL_WIDTH / 250)
    assert np.isfinite(overlays.crop_transform([5, 5, 0, 0])).all()


def test_sheet_draws_truth_left_and_prediction_right(tmp_path):
    Image.new("RGB", (96, 128), (0, 90, 0)).save(tmp_path / "image.png")
    truth = np.array([[48, 20, 2], [20, 64, 2], [76, 64, 0]])
    found = np.array([[48, 110, 0.9], [20, 64, 0.9], [76, 64, 0.9]])
    (person,) = overlays.persons(
        [annotation(1, truth.ravel().tolist())], [{"image_id": 1, "keypoints": found.ravel().tolist()}], PAIR.sigmas
    )
    sheet = np.asarray(overlays.sheet([person], {1: tmp_path / "image.png"}, PAIR))
    scale = overlays.PANEL_WIDTH / 96 / 1.25

    def at(x, y, right):
        left = overlays.SPACE + (overlays.PANEL_WIDTH + overlays.GAP) * right
        top = overlays.HEADER + overlays.CAPTION
        column = left + overlays.PANEL_WIDTH / 2 + scale * (x - 48)
        return tuple(int(v) for v in sheet[round(top + overlays.PANEL_HEIGHT / 2 + scale * (y - 64)), round(column)])

    assert at(48, 20, False) == overlays.MIDDLE and at(48, 20, True) == (0, 90, 0)
    assert at(48, 110, True) == overlays.MIDDLE and at(48, 110, False) == (0, 90, 0)
    assert at(20, 64, False) == at(20, 64, True) == overlays.LEFT
    assert at(76, 64, True) == at(76, 64, False) == (0, 90, 0)  # without label: hollow, and not in the ground truth
    edge = [at(76 + radius / scale, 64, True) for radius in (2, 3, 4)]
    assert any(pixel != (0, 90, 0) for pixel in edge)
    assert all(at(76 + radius / scale, 64, False) == (0, 90, 0) for radius in (2, 3, 4))


def test_sheet_needs_people_and_readable_images(tmp_path):
    with pytest.raises(DataError, match="no person"):
        overlays.sheet([], {}, PAIR)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    person = overlays.Person({"id": 1, "image_id": 7, "bbox": [1, 1, 5, 5]}, np.zeros((2, 3)), None, 0.0)
    with pytest.raises(DataError, match=r"broken\.jpg: not readable"):
        overlays.sheet([person], {7: tmp_path / "broken.jpg"}, PAIR)


def test_program_writes_each_figure(tmp_path):
    program = [sys.executable, str(ROOT / "scripts/plot.py")]
    population(tmp_path / "population.csv", [(0, 0, 0, 120.0, 7, 9, 110.5, "ok", 1, "g", "")])
    done = subprocess.run(
        [*program, "fitness", "--populations", str(tmp_path / "population.csv"), "--output", str(tmp_path / "f.svg")],
        capture_output=True, text=True, check=False, cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "best fitness J" in (tmp_path / "f.svg").read_text()
    assert done.stdout == ""
    text = subprocess.run(
        [*program, "--help"], capture_output=True, text=True, check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    )
    for figure in ("fitness", "pareto", "curves", "comparison", "overlays", "architecture", "metrics"):
        assert re.search(rf"^\s+{figure}\s", text.stdout, re.MULTILINE)


def plot(*arguments):
    """Run the program in this process."""
    options = plot_program.parser().parse_args([str(argument) for argument in arguments])
    options.draw(options)


@pytest.fixture
def search(tmp_path):
    """The files of `POOLS`."""
    for generation, pool in POOLS.items():
        rows = [
            (
                one.rank,
                *one.name,
                one.loss,
                one.parameters,
                9,
                one.fitness,
                one.status,
                int(one.survivor),
                one.genotype,
                "",
            )
            for one in pool
        ]
        population(tmp_path / f"gen_{generation}.csv", rows)
    return [tmp_path / f"gen_{generation}.csv" for generation in POOLS]


def test_program_stars_the_champion(search, tmp_path):
    champion = {"rank": 0, "genotype": ANCESTOR.tolist(), "loss": 116.0, "parameters": 150_000, "multiply_adds": 9}
    champion |= {"status": "ok", "fitness": 105.0, "origin": {"generation": 1, "child": 2}}
    artifacts.write_json(tmp_path / "champion.json", champion)
    plot(
        *("pareto", "--populations", *search, "--champion", tmp_path / "champion.json"), "--output", tmp_path / "p.svg"
    )
    root = ElementTree.fromstring((tmp_path / "p.svg").read_text())
    assert len(markers(root, "networks")) == 5
    assert markers(root, "champion")[0] == pytest.approx(markers(root, "networks")[0], abs=1e-3)


def test_program_names_curves_by_their_folder_or_label(tmp_path):
    columns = ("epoch", "data_loss", "val_loss", "learning_rate")
    paths = [tmp_path / f"child_{index:02d}/history.csv" for index in range(2)]
    for index, path in enumerate(paths):
        artifacts.write_csv(path, [dict(zip(columns, (1, 5.0, 6.0 + index, 0.1), strict=True))], columns)
    output = ("--output", tmp_path / "c.svg")
    plot("curves", "--histories", *paths, "--title", "Generation 7", *output)
    assert {"child_00", "child_01", "Generation 7"} <= set(
        texts(ElementTree.fromstring((tmp_path / "c.svg").read_text()))
    )
    plot("curves", "--histories", *paths, "--labels", "one", "two", *output)
    root = ElementTree.fromstring((tmp_path / "c.svg").read_text())
    assert {"one", "two"} <= set(texts(root)) and "child_00" not in texts(root)
    assert markers(root, "val_loss:one")[0][1] > markers(root, "val_loss:two")[0][1]  # SVG counts from the top
    for labels in (["one"], ["one", "one"], ["one", "two", "three"]):
        with pytest.raises(ConfigError, match="a different one for each of the 2"):
            plot("curves", "--histories", *paths, "--labels", *labels, *output)


def test_program_prints_the_comparison(tmp_path, capsys):
    artifacts.write_csv(tmp_path / "comparison.csv", [vars(row) for row in ROWS], tuple(vars(ROWS[0])))
    plot("comparison", "--table", tmp_path / "comparison.csv", "--output", tmp_path / "c.svg")
    assert capsys.readouterr().out == comparison.summary_text(ROWS) + "\n"
    root = ElementTree.fromstring((tmp_path / "c.svg").read_text())
    assert len(markers(root, "scratch_final")) == 2


def test_program_draws_baselines_in_grey(tmp_path):
    for name, value in (("evopose_m", 0.5), ("mean_pose", 0.125)):
        content = {"metrics": dict.fromkeys(metrics.METRICS, value), "explanations": {}, "persons": 3, "images": 2}
        artifacts.write_json(tmp_path / name / "metrics_ground_truth.json", content)
    network, baseline = (tmp_path / name / "metrics_ground_truth.json" for name in ("evopose_m", "mean_pose"))
    plot("metrics", "--metrics", network, "--baselines", baseline, "--output", tmp_path / "m.svg")
    text = (tmp_path / "m.svg").read_text()
    assert {"evopose_m, ground truth", "mean pose, ground truth"} <= set(texts(ElementTree.fromstring(text)))
    bars = [color.lower() for color in re.findall(r"fill: (#\w+)", text)]
    assert bars.count("#b5b5b5") >= len(metrics.METRICS) and bars.count(style.BLUE.lower()) >= len(metrics.METRICS)
    plot("metrics", "--metrics", network, baseline, "--output", tmp_path / "m.svg")
    assert "#b5b5b5" not in (tmp_path / "m.svg").read_text().lower()


def test_program_compares_networks_with_the_first(tmp_path):
    for name, genotype in (("a", ANCESTOR), ("b", EVOPOSE2D_S)):
        design = Architecture.from_space(genotype, PAPER_SPACE, 64, 64)
        files.save(tmp_path / f"{name}.safetensors", design, initial_weights(design, 1))
    weights = (tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    plot("architecture", "--weights", *weights, "--labels", "first", "second", "--output", tmp_path / "a.svg")
    shown = texts(ElementTree.fromstring((tmp_path / "a.svg").read_text()))
    assert shown.index("first") < shown.index("second")
    assert any("2.531 M parameters" in text for text in shown[shown.index("first") + 1 :])  # of the second, -S
    # An ancestor is a genotype in the space of the first network.
    ancestor = json.dumps(ANCESTOR.tolist())
    options = ("--ancestor", ancestor, "--labels", "champion", "--output", tmp_path / "b.svg")
    plot("architecture", "--weights", weights[1], *options)
    beside = texts(ElementTree.fromstring((tmp_path / "b.svg").read_text()))
    assert [{"ancestor": "first", "champion": "second"}.get(text, text) for text in beside] == shown
    with pytest.raises(ConfigError, match="a different one for each of the 2"):
        plot("architecture", "--weights", *weights, "--labels", "first", "first", "--output", tmp_path / "a.svg")


@pytest.mark.parametrize("number", [1, 2, 5])
def test_program_draws_as_many_people_as_asked_for(tmp_path, number):
    Image.new("RGB", (96, 128), (0, 90, 0)).save(tmp_path / "image.png")
    people = [annotation(index, [10 + index, 10, 2] * 3) for index in range(4)]
    artifacts.write_json(
        tmp_path / "truth.json", {"images": [{"id": 1, "file_name": "image.png"}], "annotations": people}
    )
    artifacts.write_json(tmp_path / "found.json", [{"image_id": 1, "keypoints": [12, 10, 0.9] * 3}])
    arguments = [
        "--annotations",
        tmp_path / "truth.json",
        "--predictions",
        tmp_path / "found.json",
        "--images",
        tmp_path,
    ]
    arguments += ["--keypoints", PAIR.model_dump_json(), "--number", number, "--title", "x"]
    plot("overlays", *arguments, "--output", tmp_path / "sheet.png")
    person = 2 * overlays.PANEL_WIDTH + overlays.GAP + overlays.SPACE
    row = overlays.PANEL_HEIGHT + overlays.CAPTION + overlays.SPACE
    columns, rows = {1: (1, 1), 2: (2, 1), 5: (3, 2)}[number]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (columns * person + overlays.SPACE, overlays.HEADER + rows * row + overlays.SPACE)


def test_scale_labels_are_plain_numbers():
    for low, high in ((100, 120), (60, 250), (0.5, 900)):
        axes = curves.draw({"a": [Epoch(1, None, low, 1e-3), Epoch(2, None, high, 1e-4)]}).axes[0]
        low_limit, high_limit = axes.get_ylim()
        labels = [
            axes.yaxis.get_major_formatter()(tick, None)
            for tick in axes.yaxis.get_major_locator()()
            if low_limit <= tick <= high_limit
        ]
        assert 3 <= len(labels) <= 14 and all(math.isfinite(float(label)) and "e" not in label for label in labels)
