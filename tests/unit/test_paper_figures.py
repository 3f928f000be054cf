"""The paper's figures: where the paper's values and what exists here are drawn, read back from the SVG."""

import re

import numpy as np
import pytest

from pipeline_lib import artifacts
from pipeline_lib.nets import files, registry
from pipeline_lib.nets.layers import profiled_multiply_adds
from pipeline_lib.paper import experiments
from pipeline_lib.paper import tables as paper
from pipeline_lib.plots import style
from pipeline_lib.plots.paper import figure1, figure4, figure5, results
from pipeline_lib.plots.paper.results import Status
from scripts import paper as program
from tests.unit.made_results import (
    EVALUATIONS,
    POOLS,
    SMOKE,
    finish,
    finish_search,
    place,
    write_history,
    write_pools,
)
from tests.unit.test_plots import SVG, drawn, linear, markers, texts

XS, S = "table3_evopose2d_xs", "table3_evopose2d_s"
# Fig. 1's networks in Table 3: (10^9 multiply-adds, AP, MB).
PRINTED = {
    "evopose2d": [(0.47, 68.0, 10.8), (1.07, 70.2, 10.8), (5.59, 75.1, 30.7), (17.7, 76.6, 60.6)],
    "simple_baseline": [(5.21, 70.4, 137), (8.84, 71.4, 214), (12.5, 72.0, 277), (28.1, 74.3, 277)],
    "hrnet": [(7.65, 74.4, 119), (15.7, 75.1, 259), (16.0, 75.8, 119), (35.3, 76.3, 259)],
}


def group_of(root, gid):
    (group,) = (group for group in root.iter(f"{SVG}g") if group.get("id") == gid)
    return group


def corners(path):
    """The x and the y of the points of a path."""
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.get("d"))]
    return numbers[::2], numbers[1::2]


def shapes(root, gid):
    """(x, y, width) of each marker under `gid`, from left to right: written in place, or defined once and used."""
    group = group_of(root, gid)
    defined = {f"#{path.get('id')}": corners(path)[0] for path in group.iter(f"{SVG}path") if path.get("id")}
    found = [
        (float(use.get("x")), float(use.get("y")), np.ptp(defined[use.get("{http://www.w3.org/1999/xlink}href")]))
        for use in group.iter(f"{SVG}use")
    ]
    for path in (path for path in group.iter(f"{SVG}path") if not path.get("id")):
        xs, ys = corners(path)
        found.append(((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, np.ptp(xs)))
    return sorted(found)


def fills(root, gid):
    marks = [mark for mark in group_of(root, gid).iter() if mark.get("style") and "fill" in mark.get("style")]
    return {re.search(r"fill: (\S+?)(;|$)", mark.get("style"))[1] for mark in marks}


def words(root):
    return " ".join(texts(root))


def test_figure_1_has_the_papers_points_hollow(tmp_path):
    root = drawn(figure1.draw(place(tmp_path)), tmp_path)
    found, values = [], []
    for family, expected in PRINTED.items():
        found += shapes(root, f"paper:{family}")
        values += sorted(expected)
        assert fills(root, f"paper:{family}") == {"none"}
    assert len(found) == 12
    assert linear(np.log([flops for flops, _, _ in values]), [x for x, _, _ in found])
    assert linear([ap for _, ap, _ in values], [y for _, y, _ in found])
    # Area, not diameter.
    areas = np.array([width**2 for _, _, width in found])
    assert np.allclose(areas / [size for _, _, size in values], areas[0] / values[0][2], rtol=0.01)
    assert "measured here: 0 of 12 (12 not run)" in texts(root)
    assert "the paper (Table 3)" in texts(root)


def test_figure_1_has_own_results_filled_at_their_own_cost(tmp_path):
    finish(tmp_path, XS, AP=0.69)
    finish(tmp_path, "table3_hrnet_w32_pretrained", AP=0.74)
    finish(tmp_path, "table3_hrnet_w32", AP=0.73)  # from scratch: the figure has no circle of it
    finish(tmp_path, S, SMOKE, AP=0.75)
    root = drawn(figure1.draw(place(tmp_path)), tmp_path)
    paper_points = [point for family in sorted(PRINTED) for point in shapes(root, f"paper:{family}")]
    values = [value for family in sorted(PRINTED) for value in sorted(PRINTED[family])]
    own = {"own:evopose2d": ("evopose2d_xs", 256, 192, 69.0), "own:hrnet": ("hrnet_w32", 256, 192, 74.0)}
    own |= {f"other:{S}": ("evopose2d_s", 64, 64, 75.0)}
    x, y = [x for x, _, _ in paper_points], [y for _, y, _ in paper_points]
    costs, aps = [flops for flops, _, _ in values], [ap for _, ap, _ in values]
    for gid, (name, height, width, ap) in own.items():
        ((left, top, wide),) = shapes(root, gid)
        network = registry.architecture(name, height, width, 17)
        x, y = [*x, left], [*y, top]
        costs, aps = [*costs, profiled_multiply_adds(network) / 1e9], [*aps, ap]
        if gid.startswith("own"):
            area = paper_points[0][2] ** 2 / values[0][2] * files.size(network) / 1e6
            assert wide**2 == pytest.approx(area, rel=0.01)
        assert fills(root, gid) != {"none"}
    assert linear(np.log(costs), x) and linear(aps, y)
    assert fills(root, f"other:{S}") == {style.GREY.lower()} and fills(root, "own:hrnet") == {style.GREEN.lower()}
    assert "measured here: 2 of 12 (9 not run)" in texts(root)
    assert f"{S}: not comparable: smoke: synthetic, 64x64, 1 epoch" in words(root)


def test_figure_1_names_what_is_unfinished_or_damaged(tmp_path):
    (finish(tmp_path, XS) / "summary.json").write_text("{")
    write_history(tmp_path / S / "models/evopose2d_s/history.csv", 3)
    root = drawn(figure1.draw(place(tmp_path)), tmp_path)
    assert f"not shown: {XS}, damaged" in words(root) and f"not shown: {S}, unfinished: 3 epochs so far" in words(root)
    assert not shapes(root, "own:evopose2d")


def test_figure_4_has_the_losses_of_every_training(tmp_path):
    finish(tmp_path, "table1_256")
    write_history(tmp_path / "table1_512/models/simple_baseline_r50/history.csv", 5)
    finish(tmp_path, "table1_1024", SMOKE)
    figure = figure4.draw(place(tmp_path))
    losses = figure.axes[0]
    shown = {}
    for line in losses.lines:
        shown.setdefault(line.get_linestyle(), []).append(line.get_xydata().tolist())
    lengths = [200, 5, 1, 0, 0, 0]
    assert shown["-"] == [
        [[0, 240.0], *([epoch, 100.0 / epoch] for epoch in range(1, length + 1))] if length else []
        for length in lengths
    ]
    assert shown["--"] == [[[epoch, 90.0 / epoch] for epoch in range(1, length + 1)] for length in lengths]
    said = words(drawn(figure, tmp_path))
    assert "table1_512 (unfinished: 5 epochs so far)" in said and "table1_2048_nowarmup (not run)" in said
    assert "table1_256 (" not in said and "table1_1024 (not comparable: smoke: synthetic, 64x64" in said


def test_figure_5_counts_evaluations(tmp_path):
    """By hand: 1, 1 + 3 and 1 + 3 + 2 networks; the best of each pool, and everyone but the failed one."""
    finish_search(tmp_path, "E1")
    finish_search(tmp_path, "E3_scratch", pools=POOLS[:2])
    figure = figure5.draw(place(tmp_path))
    top, bottom = figure.axes
    lines = {line.get_gid(): line.get_xydata().tolist() for line in top.lines}
    fitness, loss = (29.5, 28.0, 28.0), (30.0, 29.0, 29.0)
    assert lines["fitness:E1"] == [list(pair) for pair in zip(EVALUATIONS, fitness, strict=True)]
    assert lines["loss:E1"] == [list(pair) for pair in zip(EVALUATIONS, loss, strict=True)]
    assert lines["fitness:E3_scratch"] == [[1, 29.5], [4, 28.0]] and lines["fitness:E2"] == []
    assert {line.get_gid(): line.get_linestyle() for line in top.lines}["loss:E1"] == "--"
    root = drawn(figure, tmp_path)
    networks = markers(root, "networks:E1")
    sizes, losses = (2.0, 2.5, 3.0, 4.0, 5.0), (33.0, 31.0, 29.0, 30.0, 28.5)
    assert linear(sizes, [x for x, _ in networks]) and linear(losses, [y for _, y in networks])
    assert linear(EVALUATIONS, [x for x, _ in markers(root, "fitness:E1")])
    assert {collection.get_gid() for collection in bottom.collections} == {
        f"networks:{name}" for name in ("E1", "E2", "E3")
    }
    said = words(root)
    assert "E2 (not run)" in said and "E1 (unfinished: 2 of 30 generations; coco2017, 256x192" in said


def test_a_search_of_enough_generations_is_comparable(tmp_path):
    pools = [*POOLS, *([(1, 1, 29.0, 3_000_000, 28.0), (g, 0, 35.0, 3_000_000, 34.0)] for g in range(3, 17))]
    finish_search(tmp_path, "E2", pools=pools)
    found = results.search(place(tmp_path), "E2")
    assert found.status is Status.COMPARABLE and found.problems == ()
    assert found.described == "coco2017, 256x192, 16 generations, 5 epochs, batch 512, preset paper"
    assert "E2" in texts(drawn(figure5.draw(place(tmp_path)), tmp_path))


def test_other_searches_are_not_comparable(tmp_path):
    for name, change in {
        "gamma": {"search": {"gamma": -0.04}},
        "children": {"search": {"children": 64}},
        "fitness_split": {"search": {"fitness_split": "holdout"}},
        "kernels": {"search": {"space": {"kernels": [3, 5, 7]}}},
    }.items():
        finish_search(tmp_path / name, "E2", change)
        found = results.search(place(tmp_path / name), "E2")
        assert found.status is Status.OTHER and f"{name}: " in found.problems[0], name


def test_a_search_without_a_summary_is_unfinished(tmp_path):
    write_pools(tmp_path / "E1")
    found = results.search(place(tmp_path), "E1")
    assert found.status is Status.UNFINISHED and found.described.startswith("unfinished: 2 generations so far")
    assert "E1 (unfinished: 2 generations so far" in words(drawn(figure5.draw(place(tmp_path)), tmp_path))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "search/gen_001/population.csv").unlink(),
        lambda folder: (folder / "search/gen_002/population.csv").write_text("rank,generation\n0,"),
        lambda folder: (folder / "search/gen_000/population.csv").write_text(""),
        lambda folder: (folder / "summary.json").write_text("{}"),
        lambda folder: artifacts.write_json(
            folder / "summary.json", {"settings": {"dataset": "coco2017", "search": None}}
        ),
    ],
    ids=["a generation is missing", "half a row", "empty", "no settings", "no search"],
)
def test_a_damaged_search_is_not_drawn(tmp_path, damage):
    folder = finish_search(tmp_path, "E1")
    finish_search(tmp_path, "E2")
    damage(folder)
    found = results.search(place(tmp_path), "E1")
    assert found.status is Status.DAMAGED and not found.pools and found.problems
    root = drawn(figure5.draw(place(tmp_path)), tmp_path)
    assert "E1 (damaged)" in texts(root) and len(markers(root, "fitness:E2")) == 3
    assert not markers(root, "fitness:E1")


@pytest.mark.parametrize("draw", [figure4.draw, figure5.draw])
def test_figures_of_nothing_say_so_and_have_no_numbers(tmp_path, draw):
    root = drawn(draw(place(tmp_path)), tmp_path)
    shown = texts(root)
    assert shown.count("no results yet") == 2
    assert not [text for text in shown if re.fullmatch(r"[-−\d.]+", text)]


def test_equal_results_are_equal_files(tmp_path):
    finish(tmp_path, XS)
    finish(tmp_path, "table1_256", SMOKE)
    finish_search(tmp_path, "E1")
    for draw in (figure1.draw, figure4.draw, figure5.draw):
        for name in ("a.svg", "b.svg"):
            style.save(draw(place(tmp_path)), tmp_path / name)
        assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_program_draws_what_it_is_asked_for(tmp_path):
    finish(tmp_path, "table1_256", name="a_table1_256")
    options = ["--results", str(tmp_path), "--prefix", "a_", "--output"]
    for number, draw in ((1, figure1.draw), (4, figure4.draw), (5, figure5.draw)):
        arguments = program.parser().parse_args([f"figure_{number}", *options, str(tmp_path / "f.svg")])
        program.main(arguments)
        style.save(draw(place(tmp_path, "a_")), tmp_path / "g.svg")
        assert (tmp_path / "f.svg").read_bytes() == (tmp_path / "g.svg").read_bytes()


def test_experiments_of_the_rows():
    found = {(row.method, row.dataset, row.height): experiments.of_result(row) for row in paper.table3()}
    assert found["SB (R-152) [14]", "coco_val", 256] == "table3_simple_baseline_r152_pretrained"
    assert found["SB (R-152) [14]", "coco_test_dev", 384] == "table3_simple_baseline_r152_pretrained_384x288"
    assert found["EvoPose2D-M", "coco_val", 384] == "table3_evopose2d_m"
    assert found["SB-R50", "posetrack_val", 256] == "posetrack_simple_baseline_r50"
    assert found["EvoPose2D-L*", "coco_val", 512] == "table3_evopose2d_l_posefix"
