"""Frame rates: what is measured, what is not, and the program on a tiny network."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline_lib import artifacts, devices, nets
from pipeline_lib.config import SearchSpace
from pipeline_lib.errors import ConfigError
from pipeline_lib.evaluate import latency
from pipeline_lib.nets import files
from pipeline_lib.nets.layers import initial_weights
from pipeline_lib.nets.precision import precision
from pipeline_lib.nets.registry import architecture
from scripts import latency as program

ROOT = Path(__file__).parents[2]
TINY = architecture([[1, 3, 1, 1]] * 7, 16, 8, 2, space=SearchSpace(stem=8, head=8, head_layers=1, expansion=1))


class Clock:
    """Seconds that pass only while a network runs: 2 for each pass, 10 for each of the first `slow` ones."""

    def __init__(self, slow: int = 0) -> None:
        self.now, self.calls, self.slow = 100.0, 0, slow

    def run(self) -> None:
        self.calls += 1
        self.now += 10 if self.calls <= self.slow else 2

    def __call__(self) -> float:
        return self.now


def test_the_warm_up_is_not_measured() -> None:
    clock = Clock(slow=3)
    assert latency.measure(clock.run, passes=4, warm_up=3, clock=clock) == [2.0] * 4
    assert clock.calls == 7
    clock = Clock(slow=3)
    assert latency.measure(clock.run, passes=4, warm_up=2, clock=clock) == [10.0, 2.0, 2.0, 2.0]


def test_long_measurements_say_how_far_they_are(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with caplog.at_level(logging.INFO):
        latency.measure(clock.run, passes=10, warm_up=1, clock=clock)
    assert caplog.messages[0] == "warming up: 1 passes"
    assert caplog.messages[1:] == [f"measured {done} of 10 passes, {2 * (10 - done)} s left" for done in (3, 6, 9)]


def test_what_is_reported() -> None:
    found = latency.summarize([0.010, 0.020, 0.030, 0.040, 0.100], batch=3)
    assert found == {
        "fps": pytest.approx(5 * 3 / 0.2),
        "mean_ms": pytest.approx(40),
        "median_ms": pytest.approx(30),
        "p90_ms": pytest.approx(40 + 0.6 * 60),  # linear between the fourth and the fifth
    }


def fake(results: list[Any]) -> Any:
    """A network that remembers what it is called with, and counts its passes in the compiled function."""

    def call(images: tf.Tensor, training: bool) -> tf.Tensor:
        results.append((images.shape, images.dtype, training))
        call.passes.assign_add(1)
        return tf.reshape(images[..., 0], (-1, 4, 2, 1))

    call.passes = tf.Variable(0)
    call.input_shape = (None, 4, 2, 3)
    return call


def test_each_call_is_one_pass_of_a_compiled_function() -> None:
    traced: list[Any] = []
    network = fake(traced)
    run = latency.forward(network, batch=5, strategy=tf.distribute.get_strategy())
    for _ in range(4):
        assert run() is None
    assert network.passes.numpy() == 4
    assert traced == [((5, 4, 2, 3), tf.float32, False)]  # traced once, for inference


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    options: list[dict[str, Any]] = []
    function = tf.function
    monkeypatch.setattr(
        tf, "function", lambda call, **given: options.append(given) or function(call, jit_compile=False)
    )
    yield options


def test_xla_is_asked_for(compilations: list[dict[str, Any]]) -> None:
    for xla in (False, True):
        latency.forward(fake([]), batch=1, strategy=tf.distribute.get_strategy(), xla=xla)()
    assert compilations == [{"jit_compile": False}, {"jit_compile": True}]


def test_a_tpu_runs_it_through_its_strategy(
    monkeypatch: pytest.MonkeyPatch, compilations: list[dict[str, Any]]
) -> None:
    class Cores:
        runs = 0

        def scope(self) -> Any:
            return nullcontext()

        def run(self, call: Any, args: tuple[Any, ...]) -> Any:
            Cores.runs += 1
            return call(*args)

    monkeypatch.setattr(tf.distribute, "TPUStrategy", Cores)
    network = fake([])
    run = latency.forward(network, batch=1, strategy=Cores(), xla=True)
    run()
    run()
    assert (Cores.runs, network.passes.numpy()) == (1, 2)  # once, when the function is traced
    assert compilations[-1] == {} and not any(given.get("jit_compile") for given in compilations)


@pytest.mark.parametrize(("xla", "batch"), [(False, 2), (True, 1)])
def test_a_real_network(xla: bool, batch: int) -> None:
    model = nets.build_architecture(TINY, seed=1)
    run = latency.forward(model, batch=batch, strategy=tf.distribute.get_strategy(), xla=xla)
    seconds = latency.measure(run, passes=3, warm_up=1)
    assert len(seconds) == 3 and all(value > 0 for value in seconds)


def test_precision_holds_within_and_is_put_back() -> None:
    before = keras.config.dtype_policy().name
    with pytest.raises(ValueError), precision("bfloat16"):
        model = nets.build_architecture(TINY)
        raise ValueError
    assert keras.config.dtype_policy().name == before
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert model.get_layer("stem_conv").variable_dtype == "float32"
    assert model.get_layer("final_conv").compute_dtype == "float32"
    with precision("float32"):
        assert nets.build_architecture(TINY).get_layer("stem_conv").compute_dtype == "float32"


def test_the_processor_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "CPU_INFO", tmp_path / "cpuinfo")
    assert latency.device_name("NVIDIA TITAN Xp") == "NVIDIA TITAN Xp"
    assert latency.device_name("CPU")  # something, where nothing is known
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: \nmodel name\t: Fast: 3 GHz\nmodel name\t: Slow\n")
    assert latency.device_name("CPU") == "Fast: 3 GHz"


@pytest.mark.slow
def test_program(tmp_path: Path) -> None:
    files.save(tmp_path / "own" / "weights.safetensors", TINY, initial_weights(TINY, 3))
    command = [sys.executable, "scripts/latency.py", "--weights", tmp_path / "own" / "weights.safetensors"]
    command += ["--height", "32", "--passes", "7", "--warm-up", "2", "--batch", "3", "--dtype", "bfloat16"]
    command += ["--threads", "2", "--device", "cpu", "--result", tmp_path / "latency.json"]
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "warming up: 2 passes" in done.stderr
    result = json.loads((tmp_path / "latency.json").read_text())
    assert result.pop("fps") == pytest.approx(3e3 / result["mean_ms"])
    assert 0 < result.pop("median_ms") <= result.pop("p90_ms")
    assert result.pop("mean_ms") > 0
    assert result.pop("device") not in ("", "CPU")
    assert result.pop("versions")["tensorflow"] == tf.__version__ and "commit" in result
    del result["commit"]
    assert result == {
        "schema_version": 1, "network": "own", "height": 32, "width": 8, "passes": 7, "warm_up": 2, "batch": 3,
        "parameters": sum(tensor.size for tensor in initial_weights(TINY, 0).values()),
        "dtype": "bfloat16", "xla": False, "threads": 2,
    }  # fmt: skip
    assert done.stdout.startswith("own 32x8: ") and "7 passes, batch 3, bfloat16" in done.stdout
    assert done.stdout.count("\n") == 1


def test_every_option_reaches_the_measurement(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Any] = []
    text = dict.fromkeys(("height", "width", "passes", "batch", "dtype", "device"), 1)
    numbers = dict.fromkeys(("fps", "mean_ms", "median_ms", "p90_ms"), 1.0)

    def benchmark(name: str, network: Any, weights: Any, protocol: latency.Protocol) -> dict[str, Any]:
        calls.append((name, network, weights, protocol))
        return {"network": name, **text, **numbers}

    monkeypatch.setattr(latency, "benchmark", benchmark)
    monkeypatch.setattr(devices, "check", lambda device: None)
    leased = []
    monkeypatch.setattr(devices, "lease", lambda *asked: leased.append(asked))

    def run(*options: object) -> tuple[Any, ...]:
        program.main(program.parser().parse_args(list(map(str, options))))
        return calls[-1]

    name, network, weights, protocol = run("--network", "hrnet_w32")
    assert (name, network, weights) == ("hrnet_w32", architecture("hrnet_w32", 256, 192, 17), None)
    assert protocol == latency.Protocol() == latency.Protocol(1000, 50, 1, "float32", False, 1, "auto")
    name, network, _, protocol = run(
        "--network", "evopose2d_s", "--name", "ours", "--height", 64, "--width", 32, "--passes", 5, "--warm-up", 0,
        "--batch", 2, "--dtype", "bfloat16", "--xla", "--threads", 3, "--device", "gpu",
        "--accelerators", 4,
    )  # fmt: skip
    assert leased == [("auto", None, "frame rate of hrnet_w32"), ("gpu", 4, "frame rate of ours")]
    assert (name, network.height, network.width) == ("ours", 64, 32)
    assert protocol == latency.Protocol(5, 0, 2, "bfloat16", True, 3, "gpu")
    files.save(tmp_path / "w.safetensors", TINY, initial_weights(TINY, 3))
    name, network, weights, _ = run("--weights", tmp_path / "w.safetensors", "--result", tmp_path / "r.json")
    assert (name, network) == (tmp_path.name, TINY)
    np.testing.assert_array_equal(weights["stem_conv/kernel"], initial_weights(TINY, 3)["stem_conv/kernel"])
    assert artifacts.read_json(tmp_path / "r.json")["network"] == tmp_path.name


def test_threads_and_device_are_those_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    plain = tf.distribute.get_strategy()
    monkeypatch.setattr(devices, "configure", lambda threads, deterministic: asked.update(threads=threads))
    monkeypatch.setattr(devices, "strategy", lambda device: asked.update(device=device) or plain)
    monkeypatch.setattr(devices, "name", lambda strategy: "TPU v3-8")
    monkeypatch.setattr(latency, "forward", lambda model, **given: asked.update(model=model, **given) or (lambda: None))
    protocol = latency.Protocol(passes=2, warm_up=1, batch=4, threads=5, device="tpu", dtype="bfloat16")
    result = latency.benchmark("tiny", TINY, initial_weights(TINY, 3), protocol)
    assert (asked["threads"], asked["device"], asked["batch"], asked["xla"]) == (5, "tpu", 4, False)
    model = asked["model"]
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"
    np.testing.assert_array_equal(model.get_layer("stem_conv").kernel, initial_weights(TINY, 3)["stem_conv/kernel"])
    assert (result["device"], result["xla"], result["dtype"]) == ("TPU v3-8", True, "bfloat16")
    monkeypatch.setattr(devices, "name", lambda strategy: "CPU")
    for xla in (False, True):
        result = latency.benchmark("tiny", TINY, None, latency.Protocol(passes=1, xla=xla))
        assert result["xla"] is asked["xla"] is xla


def test_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(ConfigError, match="measured with TensorFlow; unset KERAS_BACKEND=jax"):
        latency.benchmark("tiny", TINY, None, latency.Protocol(passes=1))


@pytest.mark.parametrize("wrong", [["--passes", "0"], ["--batch", "-1"], ["--warm-up", "-1"], ["--dtype", "float16"]])
def test_wrong_numbers_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        program.parser().parse_args(["--network", "evopose2d_s", *wrong])
    assert caught.value.code == 2 and wrong[0] in capsys.readouterr().err
