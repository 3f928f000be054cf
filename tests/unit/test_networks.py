"""The table of networks beside the paper's: counts, file sizes, agreement, notes, and the program."""

import csv
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib import artifacts
from pipeline_lib.errors import ArtifactError, ConfigError
from pipeline_lib.nets import files, registry
from pipeline_lib.nets.layers import initial_weights
from pipeline_lib.paper import tables as paper
from pipeline_lib.plots import networks
from pipeline_lib.search import genotype

ROOT = Path(__file__).parents[2]
S = genotype.encode(genotype.EVOPOSE2D_S)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/networks.py", *arguments], cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def cells(text: str) -> list[dict[str, str]]:
    """The rows of the first Markdown table of `text` by its header."""
    header, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    )
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_sizes_and_values_are_those_of_table_3() -> None:
    assert [(row.height, row.width) for row in networks.named("hrnet_w48")] == [(256, 192), (384, 288)]
    quoted, own = networks.named("simple_baseline_r50")
    assert (str(quoted.printed.params_M), str(own.printed.params_M)) == ("34.0", "34.1")
    assert quoted.parameters == own.parameters == 34080913
    assert (own.trainable, own.multiply_adds, own.profiled_multiply_adds) == (34026257, 5199888384, 5205984768)
    (small,) = networks.named("evopose2d_s")
    assert (small.trainable, small.profiled_multiply_adds) == (2496239, 1072348774)
    (unprinted,) = networks.named("mspn2")
    assert (unprinted.height, unprinted.width, unprinted.printed) == (256, 192, None)
    # Printed once without and once with values of its own.
    assert [row.printed.AP for row in networks.named("cpn")] == [68.6, 72.1]


def test_another_size_has_no_printed_values() -> None:
    (row,) = networks.named("evopose2d_s", (384, 288))
    assert row.printed is None and (row.height, row.width) == (384, 288)
    assert row.parameters == 2531199 and row.multiply_adds > 2 * 1064085440
    assert [str(row.printed.flops_G) for row in networks.named("hrnet_w32", (384, 288))] == ["16.0"]


def test_a_genotype_is_counted_unscaled() -> None:
    row = networks.of_genotype(S)
    (named,) = networks.named("evopose2d_s")
    assert (row.parameters, row.multiply_adds) == (named.parameters, named.multiply_adds)
    assert (row.network, row.printed) == (S, None)
    assert networks.of_genotype(S, (512, 384)).parameters == named.parameters
    with pytest.raises(ConfigError, match="text such as"):
        networks.of_genotype("evopose2d_s")


@pytest.mark.parametrize("name", ["evopose2d_s", "efficientnet_b0"])
def test_the_size_is_that_of_the_file(name: str, tmp_path: Path) -> None:
    """Exactly, also with scalars, which EfficientNet's normalisation has."""
    network = registry.architecture(name, 256, 192, 17)
    files.save(tmp_path / "weights.safetensors", network, initial_weights(network, 0))
    assert files.size(network) == (tmp_path / "weights.safetensors").stat().st_size
    assert networks.named(name)[0].file_bytes == files.size(network)


def test_the_size_without_metadata(tmp_path: Path) -> None:
    import numpy as np

    tensors = {"b/x": np.zeros((2, 3), np.float32), "a/y": np.zeros((), np.float32)}
    artifacts.save_weights(tmp_path / "x", tensors)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    assert artifacts.weights_size(shapes) == (tmp_path / "x").stat().st_size
    artifacts.save_weights(tmp_path / "x", tensors, {"b": "1", "a": 'quoted "text"'})
    assert artifacts.weights_size(shapes, {"a": 'quoted "text"', "b": "1"}) == (tmp_path / "x").stat().st_size


def test_what_agrees_and_how_much_the_rest_differs() -> None:
    rows = networks.named("hrnet_w32")
    table = cells(networks.as_text(rows, networks.notes(rows, general=False)))
    assert [row["Table 3"] for row in table] == ["HRNet-W32 [24]", "HRNet-W32", "HRNet-W32 [24]"]
    assert [row["params"] for row in table] == ["28.5 +0.3%", "28.6 =", "28.5 +0.3%"]
    assert [row["FLOPs"] for row in table] == ["7.65 =", "7.65 =", "16.0 +7.5%"]
    assert table[0]["size"] == "119 -3.8%"  # 114.52 of 119
    assert [table[0][name] for name in ("params (M)", "trainable (M)", "conv (G)", "profiler (G)", "file (MB)")] == [
        "28.590", "28.536", "7.645", "7.645", "114.52",
    ]  # fmt: skip
    assert [row["input"] for row in table] == ["256x192", "256x192", "384x288"]
    (light,) = cells(networks.as_text(networks.named("evopose2d_xs"), []))
    assert (light["conv (G)"], light["FLOPs"]) == ("0.462", "0.47 =")  # compared by the profiler's rule


def test_notes_are_numbered_where_they_concern() -> None:
    rows = [*networks.named("evopose2d_xs"), *networks.named("hrnet_w32")]
    shown = networks.notes(rows, general=False)
    text = networks.as_text(rows, shown)
    numbered = re.findall(r"^(\d+)\. (.*)", text, re.MULTILINE)
    assert [int(number) for number, _ in numbered] == [1, 2, 3]
    table = cells(text)
    assert table[0]["notes"] == ""
    flops = next(number for number, line in numbered if line.startswith("16.0 is HRNet's"))
    assert [flops in row["notes"].split(", ") for row in table[1:]] == [False, False, True]
    assert "search space" not in text and max(map(len, text.partition("params:")[2].splitlines())) <= networks.LINE
    everything = networks.notes(rows, general=True)
    assert everything[: len(shown)] == shown
    assert {note.text for note in everything[len(shown) :]} == {note.text for note in paper.notes() if not note.network}


def test_csv_is_unrounded() -> None:
    rows = networks.named("hrnet_w32")
    written = networks.as_csv(rows, networks.notes(rows, general=True))
    assert all(tuple(row) and set(row) == set(networks.COLUMNS) for row in written)
    large = written[2]
    assert (large["network"], large["height"], large["width"]) == ("hrnet_w32", 384, 288)
    assert (large["multiply_adds"], large["profiled_multiply_adds"]) == (17201258496, 17201317248)
    assert (large["paper_params_M"], large["paper_flops_G"]) == (Decimal("28.5"), Decimal("16.0"))
    assert large["flops_difference_percent"] == pytest.approx(100 * (17.201317248 / 16 - 1), abs=1e-3)
    assert large["params_difference_percent"] == pytest.approx(100 * (28.590449 / 28.5 - 1), abs=1e-3)
    assert large["size_difference_percent"] == pytest.approx(100 * (large["file_bytes"] / 119e6 - 1), abs=1e-3)
    assert "2.25" in large["notes"] and "2.25" not in written[0]["notes"]
    (bare,) = networks.as_csv(networks.named("mspn2"), [])
    assert bare["paper_method"] is bare["paper_flops_G"] is bare["flops_difference_percent"] is bare["notes"] is None


def test_program_shows_every_network(tmp_path: Path) -> None:
    done = run("--csv", str(tmp_path / "networks.csv"))
    assert done.returncode == 0, done.stderr
    table = cells(done.stdout)
    assert {row["network"] for row in table} == set(registry.NAMES)
    with (tmp_path / "networks.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["network"] for row in rows] == [row["network"] for row in table]
    assert list(rows[0]) == list(networks.COLUMNS)
    printed = {(row.network, row.height, row.width) for row in paper.table3() if row.network}
    assert printed <= {(row["network"], int(row["height"]), int(row["width"])) for row in rows}
    assert "search space of 10^14" in done.stdout
    (small,) = (row for row in rows if row["network"] == "evopose2d_s")
    assert (small["parameters"], small["profiled_multiply_adds"]) == ("2531199", "1072348774")


def test_program_takes_names_sizes_and_genotypes(tmp_path: Path) -> None:
    done = run("hrnet_w48", "--genotype", S, "--height", "384", "--width", "288")
    assert done.returncode == 0, done.stderr
    assert [(row["network"], row["input"]) for row in cells(done.stdout)] == [("hrnet_w48", "384x288"), (S, "384x288")]
    assert "search space of 10^14" not in done.stdout
    only = cells(run("--genotype", S).stdout)
    assert [row["network"] for row in only] == [S]
    for wrong, message in (
        (["--height", "384"], "--height and --width: both or none"),
        (["--height", "-3"], "--height: an integer above 0 is expected, not -3"),
        (["--width", "0"], "--width: an integer above 0 is expected, not 0"),
        (["hrnet_w64"], "unknown network 'hrnet_w64'; known are evopose2d_xs"),
        (["--genotype", "1.1"], "7 rows of blocks, kernel"),
        (["hrnet_w32", "--height", "100", "--width", "96"], "not divisible"),
    ):
        failed = run(*wrong)
        assert failed.returncode == 2 and message in failed.stderr and "Traceback" not in failed.stderr


def test_weights_of_other_programs_get_into_a_file_as_the_manual_says(tmp_path: Path) -> None:
    """The manual's own lines, with arrays of a PyTorch model's shapes."""
    table = tmp_path / "tensors.csv"
    assert run("hrnet_w32", "--tensors", str(table)).returncode == 0
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["network"] for row in rows} == {"hrnet_w32"} and len(rows) > 1000
    listed = {row["tensor"]: tuple(map(int, row["shape"].split("x"))) for row in rows}
    network = registry.architecture("hrnet_w32", 256, 192, 17)
    assert listed == {name: values.shape for name, values in initial_weights(network, 0).items()}
    kinds = {row["tensor"]: row["kind"] for row in rows}
    first = next(name for name, kind in kinds.items() if kind == "conv")
    height, width, inputs, outputs = listed[first]
    kernel = np.random.default_rng(0).normal(size=(outputs, inputs, height, width)).astype(np.float32)
    text = (ROOT / "workflow/docs/usage.md").read_text()
    assert "`.transpose(2, 3, 1, 0)`" in text
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    written = code.replace('"hrnet_w32.safetensors"', "path")
    exec(written, {"arrays": {first: kernel.transpose(2, 3, 1, 0)}, "path": tmp_path / "hrnet_w32.safetensors"})
    found, weights = files.load(tmp_path / "hrnet_w32.safetensors")
    assert found == network
    assert weights[first][0, 1, 2, 3] == kernel[3, 2, 0, 1]
    with pytest.raises(ArtifactError, match="unknown_layer/kernel is unknown"):
        exec(written, {"arrays": {"unknown_layer/kernel": kernel}, "path": tmp_path / "x.safetensors"})
