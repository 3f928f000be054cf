"""Training steps compiled for a TPU that is not there."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib.config import PAPER_ANCESTOR, PAPER_SPACE
from pipeline_lib.errors import ConfigError
from pipeline_lib.nets import files, registry
from pipeline_lib.nets.layers import count_network, initial_weights
from pipeline_lib.search import genotype, space
from scripts import check_tpu

with_compiler = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("jax", "libtpu")),
    reason="needs JAX and libtpu (make install ACCELERATOR=jax VENV=.venv-jax)",
)


def test_the_largest_genotype_is_of_the_space_and_no_gene_can_grow() -> None:
    found = space.largest(PAPER_ANCESTOR, PAPER_SPACE)
    genotype.validate(found, PAPER_SPACE, PAPER_ANCESTOR)
    for module in range(7):
        for gene in range(3):
            larger = [list(row) for row in found]
            larger[module][gene] += 2 if gene == genotype.KERNEL else 1
            with pytest.raises(ConfigError, match=f"module {module + 1} has"):
                genotype.validate(larger, PAPER_SPACE, PAPER_ANCESTOR)
    assert [row[3] for row in found[4:]] == [1, 1, 1]
    assert [row[3] for row in found[:4]] == [row[3] for row in PAPER_ANCESTOR[:4]]
    own = PAPER_SPACE.model_copy(update={"max_channels": (9, 8, 7, 6, 5, 4, 3), "max_blocks": (1, 2, 3, 4, 5, 6, 7)})
    assert [row[:3] for row in space.largest(PAPER_ANCESTOR, own)] == [(n, 5, 10 - n) for n in range(1, 8)]


def test_what_is_compiled_is_found_by_name(tmp_path: Path) -> None:
    sizes = {}
    for name in ("ancestor", "evopose2d_s", "largest", "hrnet_w32", genotype.encode(genotype.EVOPOSE2D_S)):
        network = check_tpu.network(name, 128, 96)
        assert (network.height, network.width, network.keypoints) == (128, 96, 17)
        sizes[name] = count_network(network)["multiply_adds"]
    assert sizes["evopose2d_s"] == sizes[genotype.encode(genotype.EVOPOSE2D_S)]
    assert sizes["largest"] > max(sizes["ancestor"], sizes["evopose2d_s"])
    assert (
        check_tpu.network("ancestor", 128, 96).layers() == registry.architecture(PAPER_ANCESTOR, 128, 96, 17).layers()
    )
    stored = registry.architecture(PAPER_ANCESTOR, 64, 64, 3)
    files.save(tmp_path / "w.safetensors", stored, initial_weights(stored, 1))
    assert check_tpu.network(str(tmp_path / "w.safetensors"), 128, 96) == stored.resized(128, 96)
    with pytest.raises(ConfigError, match="genotype 'nothing'"):
        check_tpu.network("nothing", 128, 96)


def test_an_environment_without_the_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_tpu, "PACKAGES", ("keras", "no-such-package"))
    message = r"no-such-package is not installed here: make install ACCELERATOR=jax VENV=\.venv-jax"
    with pytest.raises(ConfigError, match=message):
        check_tpu.check_packages()


@with_compiler
@pytest.mark.parametrize(
    ("limit", "first", "hbm"),
    [(700, 64, 1000), (700, 64, None), (65, 64, 10**6), (64, 64, 128), (5, 64, None), (0, 4, None)],
)
def test_the_largest_batch_and_its_double_are_both_compiled(limit: int, first: int, hbm: int | None) -> None:
    """Of batches that are 64 (or 4) times a power of two, when `limit` is the last that fits."""
    from pipeline_lib.train.ahead import Cost, DoesNotFit, largest_batch

    asked = []

    def fits(batch: int) -> Cost:
        asked.append(batch)
        if batch > limit:
            raise DoesNotFit(f"{batch} of {limit}")
        return Cost(
            1,
            batch,
            0,
            0,
            arguments=10,
            temporaries=batch,
            output=10,
            aliased=9,
            flops=0,
            bytes_accessed=0,
            all_reduces=0,
        )

    known = fits(first) if first <= limit else None
    asked.clear()
    best, refused, why = largest_batch(fits, first, known, hbm)
    expected = max((first * 2**n // 2**8 for n in range(20) if first * 2**n // 2**8 <= limit), default=0)
    assert (best.batch if best else 0) == expected
    assert best is None or best.memory == best.batch + 11
    assert refused == max(1, expected * 2) and refused in asked and why == f"{refused} of {limit}"
    assert len(asked) == len(set(asked)), "no batch is compiled twice"


@with_compiler
def test_the_compilers_words_about_memory() -> None:
    from pipeline_lib.train.ahead import shortage

    text = (
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error.\nRan out: Used 19.79G of 15.48G hbm. Exceeded by 4.31G."
    )
    assert shortage(text) == "Used 19.79G of 15.48G hbm"
    text = "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for HLO "
    text += "temporaries (50.66G) exceeds available HBM (15.75G). HLO module: jit_train_step.\nmore"
    assert shortage(text) == "total memory required for HLO temporaries (50.66G) exceeds available HBM (15.75G)"
    assert shortage("RESOURCE_EXHAUSTED: other\nmore") == "RESOURCE_EXHAUSTED: other"


def compiled(name: str, folder: Path, *options: str) -> dict:
    """The report of the program in a process of its own, in which TensorFlow is not loaded."""
    code = "import runpy, sys; runpy.run_path('scripts/check_tpu.py', run_name='__main__'); assert 'tensorflow' not in sys.modules"
    command = [sys.executable, "-c", code, "--genotype", name, "--report", str(folder / "report.json"), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": "."}, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert " HBM (GiB) |" in done.stdout
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


@with_compiler
@pytest.mark.slow
@pytest.mark.parametrize("name", ["largest", "evopose2d_s", "ancestor"])
def test_networks_of_the_search_compile_and_fit(name: str, tmp_path: Path) -> None:
    """At the paper's size and its batch on a v3-8's core; the largest first, so that two processes end together."""
    report = compiled(name, tmp_path, "--no-search", "--one-chip")
    (program,) = report["programs"]
    assert (report["height"], report["width"], report["device"], program["batch"]) == (256, 192, "TPU v5 lite", 64)
    assert program["memory"] < report["hbm"] == 16 * 2**30
    # Forward and backward pass take three times the forward one, each multiply-add is two operations.
    forward = 2 * 64 * count_network(check_tpu.network(name, 256, 192))["multiply_adds"]
    assert 2.5 * forward < program["flops"] < 8 * forward
    batch = 64 * 256 * 192 * 3
    variables = 3 * 4 * count_network(check_tpu.network(name, 256, 192))["parameters"]
    assert program["arguments"] > batch + 0.9 * variables
    assert program["bytes_accessed"] > program["arguments"]
    assert program["all_reduces"] == 0


@with_compiler
@pytest.mark.slow
def test_one_program_for_all_chips(tmp_path: Path) -> None:
    """A small one, with everything that a large one has: both programs and the largest batch."""
    report = compiled(
        "1.3.1.1-1.3.1.2-1.3.1.2-1.3.1.2-1.3.1.1-1.3.1.1-1.3.1.1", tmp_path, "--height=64", "--width=64", "--no-search"
    )
    one, four = report["programs"]
    assert (one["chips"], one["batch"], four["chips"], four["batch"]) == (1, 64, 4, 256)
    assert one["all_reduces"] == 0 < four["all_reduces"]
    assert four["flops"] == pytest.approx(one["flops"], rel=0.2), "of a chip"


def test_a_batch_beyond_all_bounds_is_refused() -> None:
    command = ["--genotype", "ancestor", "--batch", "2097152"]
    with pytest.raises(ConfigError, match=r"--batch: batch: .*1048576"):
        check_tpu.main(check_tpu.parser().parse_args(command))
