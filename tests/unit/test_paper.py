"""The paper's values: complete, as its text says, and contradicted by computation only where a note says so."""

import dataclasses
import math
import re
import zipfile
from decimal import Decimal
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from pipeline_lib.config import PAPER_SPACE
from pipeline_lib.errors import ArtifactError
from pipeline_lib.nets import registry, spec
from pipeline_lib.nets.layers import count_network, profiled_multiply_adds, tensors
from pipeline_lib.paper import tables
from pipeline_lib.paper.tables import agrees
from pipeline_lib.search import scaling, space
from pipeline_lib.search.genotype import ANCESTOR

ROOT = Path(__file__).parents[2]
DATASETS = ("coco_val", "coco_test_dev", "posetrack_val")
# Added up column by column from the paper's text: COCO val, test-dev, PoseTrack.
SUMS = {
    "params_M": ("757.82", "225.2", "72.57"),
    "flops_G": ("254.34", "134.1", "19.52"),
    "size_MB": ("2492.4", "916.2", "297.5"),
    "fps": ("832.2", "89.1", "234.5"),
    "AP": ("1464.9", "450.5", "228.5"),
    "AP50": ("1615.4", "552.8", "344.6"),
    "AP75": ("1450.2", "495.9", "270.2"),
    "APM": ("1255.8", "429.7", "135.5"),
    "APL": ("1439.5", "485.3", "242.2"),
    "AR": ("1424.4", "482.9", "249.1"),
}


def of(method: str, dataset: str = "coco_val", size: tuple[int, int] | None = None) -> tables.Result:
    """The last such row, which in the sections of COCO is the paper's own."""
    found = [row for row in tables.table3() if (row.method, row.dataset) == (method, dataset)]
    return [row for row in found if size in (None, (row.height, row.width))][-1]


def printed(network: str, height: int, width: int) -> list[tables.Result]:
    rows = [row for row in tables.table3() if (row.network, row.height, row.width) == (network, height, width)]
    assert rows
    return rows


@pytest.mark.parametrize("column", SUMS)
def test_columns_of_table_3_add_up(column: str) -> None:
    for dataset, total in zip(DATASETS, SUMS[column], strict=True):
        values = [getattr(row, column) for row in tables.table3() if row.dataset == dataset]
        assert sum(Decimal(str(value)) for value in values if value is not None) == Decimal(total), dataset


def test_rows_of_table_3() -> None:
    rows = tables.table3()
    assert [sum(row.dataset == dataset for row in rows) for dataset in DATASETS] == [20, 6, 4]
    assert {row.network for row in rows} == {"", *registry.NAMES} - {"mspn2"}
    for row in rows:
        # The starred rows are PoseFix's, and have no network of their own; only other people's are cited.
        assert row.starred == (not row.network) == ("*" in row.method)
        assert row.implemented_by_the_paper == ("[" not in row.method)
        assert (row.height, row.width) in ((256, 192), (384, 288), (512, 384))
        if row.AP50 is not None:
            assert row.AP50 > row.AP75 > row.AP and row.APM < row.AP < row.APL and row.AR > row.AP
    assert {row.method for row in rows if row.AP50 is None} == {"CPN [23]", "MSPN [49]"}
    assert {row.method for row in rows if row.size_MB is None} == {"CPN [23]", "MSPN [49]"}
    # The paper measured others' sizes and speeds itself where it prints them.
    assert all(row.recalculated == (row.size_MB is not None and not row.implemented_by_the_paper) for row in rows)
    pretrained = {row.method for row in rows if row.pretrained and row.implemented_by_the_paper}
    assert pretrained == {row.method for row in rows if row.dataset == "posetrack_val"}
    assert [row.AP for row in rows if row.method == "HRNet-W32 [24]" and not row.pretrained] == [73.4]


def test_the_same_network_has_the_same_values_in_every_data_set() -> None:
    for network in registry.NAMES:
        for own in (True, False):
            values: dict[tuple[int, int], set] = {}
            for row in tables.table3():
                if row.network == network and row.implemented_by_the_paper is own and row.params_M is not None:
                    values.setdefault((row.height, row.width), set()).add(
                        (row.params_M, row.flops_G, row.size_MB, row.fps)
                    )
            assert all(len(different) == 1 for different in values.values()), network


def test_the_text_of_the_paper_says_the_same_of_table_3() -> None:
    small, medium, large = of("EvoPose2D-S"), of("EvoPose2D-M"), of("EvoPose2D-L")
    baseline, hrnet, efficient = of("SB-R50"), of("HRNet-W32"), of("EfficientNet-B0‡")
    wide = of("HRNet-W48 [24]")
    assert (wide.height, wide.width) == (384, 288)
    assert agrees(small.fps / baseline.fps, Decimal("1.5"))  # 50 % faster
    assert agrees(baseline.size_MB / small.size_MB, Decimal("12.7"))
    assert agrees(baseline.flops_G / small.flops_G, Decimal("4.9"))
    assert agrees(wide.size_MB / large.size_MB, Decimal("4.3"))
    assert agrees(wide.flops_G / large.flops_G, Decimal("2.0"))
    assert agrees(efficient.size_MB / small.size_MB, Decimal("2.2"))
    assert agrees(small.AP - efficient.AP, Decimal("1.8"))
    assert agrees(medium.AP - hrnet.AP, Decimal("1.5"))
    assert agrees(medium.fps / hrnet.fps, Decimal("1.23"))
    assert agrees(hrnet.size_MB / medium.size_MB, Decimal("3.9"))
    for better, worse in (("EvoPose2D-S", "SB-R50"), ("EvoPose2D-M", "HRNet-W32")):
        assert of(better, "posetrack_val").AP > of(worse, "posetrack_val").AP
    # PoseFix's published gains.
    assert (of("HRNet-W48* [51]").AP, of("EvoPose2D-L*").AP) == (77.3, 77.5)


def test_table_1_is_as_the_text_says() -> None:
    rows = tables.table1()
    assert [row.batch for row in rows] == [256, 512, 1024, 2048, 2048, 2048]
    best = {(row.batch, row.warmup, row.scale_rate): row for row in rows}
    full = best[2048, True, True]
    assert agrees(full.AP - 70.4, Decimal("0.6"))
    assert agrees(full.AP - best[2048, False, True].AP, Decimal("1.3"))
    assert agrees(full.AP - best[2048, True, False].AP, Decimal("0.7"))
    assert [row.hours for row in rows] == [7.2, 5.42, 5.25, 5.32, 5.35, 5.33]
    assert agrees(full.hours * 140 / 200, Decimal("3.7"))
    assert max(row.AP for row in rows) == best[1024, True, True].AP == 71.2


def test_table_5_follows_from_equation_4() -> None:
    assert [row.network for row in tables.table5()] == ["evopose2d_m", "evopose2d_l"]
    for row in tables.table5():
        exact = scaling.coefficients(row.height, row.width)
        for value, rounded in zip(exact, (row.phi, row.depth_coefficient, row.width_coefficient), strict=True):
            assert agrees(value, rounded)
        assert (row.height, row.width) == registry.EVOPOSE2D[row.network][1]


def test_searches() -> None:
    found = {row.name: row for row in tables.searches()}
    assert {name: (row.children, row.parents, row.gamma, row.days) for name, row in found.items()} == {
        "E1": (32, 4, -0.04, 1.5),
        "E2": (32, 4, -0.07, 0.8),
        "E3": (64, 4, -0.07, 1.1),
        "E3 (no weight transfer)": (64, 4, -0.07, None),
    }
    for row in found.values():
        assert (row.target_parameters, row.batch, row.transfer) == (5e6, 512, row.name[2:] == "")
        assert row.ancestor_epochs == 6 * row.child_epochs  # "six-fold"


@pytest.mark.parametrize(
    ("value", "text", "equal"),
    [
        (0.6015, "0.60", True),
        (0.605, "0.60", False),
        (0.595, "0.60", True),
        (120.4999, "120", True),
        (120.5, "120", False),
        (2.525, "2.53", True),
        (17, "17.0", True),
        (17.05, "17.0", False),
    ],
)
def test_agreement_is_in_every_printed_digit(value: float, text: str, equal: bool) -> None:
    assert agrees(value, Decimal(text)) is equal


def test_whatever_disagrees_is_noted() -> None:
    """Parameters and FLOPs of every row follow from the network, or a note says why they do not."""
    disagreeing = set()
    for row in tables.table3():
        if not row.network or row.params_M is None:
            continue
        network = registry.architecture(row.network, row.height, row.width, 17)
        place = row.network, row.height, row.width
        if not agrees(count_network(network)["parameters"] / 1e6, row.params_M):
            disagreeing.add((*place, "params_M"))
        if not agrees(profiled_multiply_adds(network) / 1e9, row.flops_G):
            disagreeing.add((*place, "flops_G"))
        variables = len(tensors(network))
        if row.size_MB is not None:
            container = 1e6 * float(row.size_MB) - 4 * count_network(network)["parameters"]
            half = 0.5e6 * 10.0 ** row.size_MB.as_tuple().exponent
            # HDF5 takes about 1.7 kB a variable, and 0.4 more for the network's description.
            if not (container + half) / variables > 1700 or not (container - half) / variables < 2300:
                disagreeing.add((*place, "size_MB"))
    noted = {
        (*place, note.column) for place in {row[:3] for row in disagreeing} for note in tables.notes() if note.concerns(*place)
    }  # fmt: skip
    assert disagreeing - noted == set()
    # The other notes are about the paper's text, not about these cells.
    assert noted - disagreeing == {("simple_baseline_r50", 256, 192, "flops_G")}
    assert {place[0] for place in disagreeing if place[3] == "flops_G"} == {"hrnet_w32", "cpn", "mspn4"}
    assert {place[0] for place in disagreeing if place[3] == "size_MB"} == {"hrnet_w32", "hrnet_w48"}


def note(start: str) -> str:
    (found,) = [note.text for note in tables.notes() if note.text.startswith(start)]
    return found


@pytest.mark.parametrize(("name", "quoted"), [("r50", "34.0"), ("r101", "53.0"), ("r152", "68.6")])
def test_quoted_parameters_of_simple_baseline_are_trainable_ones_without_biases(name: str, quoted: str) -> None:
    network = registry.architecture(f"simple_baseline_{name}", 256, 192, 17)
    counts = count_network(network)
    biases = sum(layer.out_channels for layer in network.layers() if layer.bias and layer.role != "final")
    assert agrees((counts["trainable"] - biases) / 1e6, Decimal(quoted))
    text = note("Table 3 prints 34.0" if name == "r50" else quoted)
    assert quoted in text and f"{counts['parameters'] / 1e6:.1f}" in text


@pytest.mark.parametrize(
    ("network", "trained", "all_of_them"),
    [
        ("hrnet_w32", "28.5", "28.6"),
        ("hrnet_w48", "63.6", "63.7"),
        ("cpn", "27.0", "27.1"),
        ("mspn4", "120.3", "120.6"),
    ],
)
def test_quoted_parameters_of_the_others_are_trainable_ones(network: str, trained: str, all_of_them: str) -> None:
    counts = count_network(registry.architecture(network, 256, 192, 17))
    assert agrees(counts["trainable"] / 1e6, Decimal(trained))
    assert agrees(counts["parameters"] / 1e6, Decimal(all_of_them))
    first = next(row for row in tables.table3() if row.network == network)
    assert agrees(counts["trainable"] / 1e6, first.params_M)
    texts = [one.text for one in tables.notes() if one.network == network and one.column == "params_M"]
    assert len(texts) == 1 and trained in texts[0] and all_of_them in texts[0]


def test_the_flops_of_hrnet_grow_with_the_input() -> None:
    small, large = printed("hrnet_w32", 256, 192)[0], printed("hrnet_w32", 384, 288)[0]
    assert agrees(float(small.flops_G) * 2.25, Decimal("17.2")) and str(large.flops_G) == "16.0"
    for network in ("hrnet_w48", "simple_baseline_r152"):
        ratio = printed(network, 384, 288)[0].flops_G / printed(network, 256, 192)[0].flops_G
        assert float(ratio) == pytest.approx(2.25, rel=0.005)
    assert "17.2" in note("16.0 is HRNet's own") and "7.65" in note("16.0 is HRNet's own")


def test_blocks_have_to_be_rounded_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "scale_depth", lambda blocks, c_d: math.floor(blocks * c_d + 0.5))
    texts = [one.text for one in tables.notes() if "A-D" in one.text]
    for name, size, expected, text in (
        ("evopose2d_m", (384, 288), ("6.75", "5.24"), texts[0]),
        ("evopose2d_l", (512, 384), ("14.7", "17.4"), texts[1]),
    ):
        network = registry.architecture(name, *size, 17)
        counted = count_network(network)["parameters"] / 1e6, profiled_multiply_adds(network) / 1e9
        assert all(agrees(value, Decimal(rounded)) for value, rounded in zip(counted, expected, strict=True))
        assert expected[1] in text


def test_the_first_module_does_not_expand() -> None:
    network = registry.architecture("evopose2d_s", 256, 192, 17)
    expanding = dataclasses.replace(network, expansion=(6,) * 7)
    assert agrees(count_network(expanding)["parameters"] / 1e6, Decimal("2.55"))
    assert agrees(profiled_multiply_adds(expanding) / 1e9, Decimal("1.20"))
    assert "2.55" in note("Section IV-A has an expansion") and "1.20" in note("Section IV-A has an expansion")


def test_simple_baseline_has_kernels_of_4() -> None:
    network = registry.architecture("simple_baseline_r50", 256, 192, 17)
    smaller = [
        dataclasses.replace(layer, kernel=3) if layer.op == "tconv" else layer for layer in network.layers()
    ]  # fmt: skip
    less = sum((16 - 9) * layer.in_channels * layer.out_channels for layer in network.layers() if layer.op == "tconv")
    assert agrees((count_network(network)["parameters"] - less) / 1e6, Decimal("29.5"))
    assert agrees(sum(layer.profiled for layer in smaller) / 2e9, Decimal("4.59"))
    assert "29.5" in note("Section V-B") and "4.59" in note("Section V-B")


def test_the_other_notes_state_what_can_be_computed() -> None:
    fast, slow = of("EfficientNet-B0‡").fps, of("EvoPose2D-S").fps
    assert agrees(100 * (1 - slow / fast), Decimal("17")) and agrees(100 * (fast / slow - 1), Decimal("21"))
    assert "17 %" in note("Section V-C") and "21 %" in note("Section V-C")
    text = note("Section IV-A has a search space")
    assert f"{space.size(ANCESTOR, PAPER_SPACE) / 1e13:.1f} x 10^13" in text
    assert f"{space.size_within_stride_limit(ANCESTOR, PAPER_SPACE) / 1e13:.1f} x 10^13" in text
    assert 2.5e-4 * 256 / 32 == 0.002 and "0.002" in note("Table 1")
    for method, plain in (("HRNet-W48* [51]", "HRNet-W48 [24]"), ("EvoPose2D-L*", "EvoPose2D-L")):
        for dataset in ("coco_val", "coco_test_dev"):
            refined, alone = of(method, dataset), of(plain, dataset)
            for column in ("params_M", "flops_G", "size_MB", "fps"):
                assert getattr(refined, column) == getattr(alone, column)
    assert note("Rows with an asterisk")


def test_notes_concern_their_rows() -> None:
    of_all_sizes = next(one for one in tables.notes() if one.network == "simple_baseline_r152")
    assert of_all_sizes.concerns("simple_baseline_r152", 256, 192)
    assert of_all_sizes.concerns("simple_baseline_r152", 384, 288)
    assert not of_all_sizes.concerns("simple_baseline_r50", 256, 192)
    of_one = next(one for one in tables.notes() if one.text.startswith("16.0"))
    assert of_one.concerns("hrnet_w32", 384, 288) and not of_one.concerns("hrnet_w32", 256, 192)
    general = [one for one in tables.notes() if not one.network]
    assert general and not any(one.concerns("hrnet_w32", 256, 192) for one in general)
    columns = {field.name for field in dataclasses.fields(tables.Result)} | {""}
    assert all(one.column in columns for one in tables.notes())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch,warmup\n1,Y\n", "the columns batch, warmup, scale_rate, hours, AP are expected"),
        ("batch,warmup,scale_rate,hours,AP\n1,Y,yes,1,1\n", r"table1\.csv, line 2"),
        ("batch,warmup,scale_rate,hours,AP\n1,Y,Y,1,1\n1.5,Y,Y,1,1\n", r"table1\.csv, line 3"),
    ],
)
def test_tables_that_are_damaged_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    (tmp_path / "table1.csv").write_text(text)
    with pytest.raises(ArtifactError, match=message):
        tables.table1()


def test_the_values_are_in_the_package(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("table1", "table3", "table5", "search", "notes"):
        assert f"pipeline_lib/paper/{name}.csv" in names


@pytest.mark.parametrize("name", registry.NAMES)
def test_every_network_names_its_source_and_its_row(name):
    source, row = registry.origin(name)
    assert len(source) > 20
    methods = {one.method for one in tables.table3() if one.network == ("mspn4" if name == "mspn2" else name)}
    assert methods and all(re.fullmatch(rf"{re.escape(row)}‡?( \[\d+\])?", method) for method in methods), methods


def test_table_4_is_the_ancestor_in_the_units_of_the_paper() -> None:
    rows = tables.table4()
    assert [row.module for row in rows] == list(range(1, 8))
    genes = [[row.blocks, row.kernel, row.channels // 8, row.stride] for row in rows]
    assert genes == ANCESTOR.tolist()
    shrinkage = 2  # the stem's
    for row in rows:
        shrinkage *= row.stride
        assert row.shrinkage == shrinkage and row.channels % 8 == 0
