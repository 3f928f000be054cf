"""What is said about devices that are missing; the machine is a folder of the test."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline_lib import devices, hardware
from pipeline_lib.errors import EvoPoseError


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without accelerators, and an installation without TPU packages."""
    (tmp_path / "dev" / "vfio").mkdir(parents=True)
    (tmp_path / "dev" / "vfio" / "vfio").touch()  # the driver's own node is no device
    monkeypatch.setattr(hardware, "ROOT", tmp_path)
    for name in ("TPU_NAME", "TPU_VISIBLE_CHIPS", "CUDA_VISIBLE_DEVICES", hardware.NAMES):
        monkeypatch.delenv(name, raising=False)
    installed(monkeypatch)
    return tmp_path / "dev"


def installed(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    def version(name: str) -> str:
        if name not in packages:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_a_cpu_is_always_there(machine: Path) -> None:
    assert devices.available() == ["cpu"]
    devices.check("cpu")
    devices.check("auto")
    assert (devices.accelerators("auto"), devices.accelerators("cpu")) == (0, 0)
    assert (devices.accelerators("gpu"), devices.accelerators("tpu")) == (1, 1)


@pytest.mark.parametrize("name", ["accel0", "vfio/0"])
def test_a_tpu_needs_hardware_and_packages(machine: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(EvoPoseError, match=r"no TPU here.*TPU_NAME is not set.*--config device=cpu"):
        devices.check("tpu")
    (machine / name).touch()
    with pytest.raises(EvoPoseError, match=r"tensorflow-tpu and libtpu is not installed.*make install ACCELERATOR=tpu"):
        devices.check("tpu")
    installed(monkeypatch, "tensorflow-tpu")
    with pytest.raises(EvoPoseError, match="but libtpu is not installed"):
        devices.check("tpu")
    installed(monkeypatch, "tensorflow-tpu", "libtpu")
    devices.check("tpu")
    assert devices.available() == ["tpu", "cpu"]
    assert devices.accelerators("auto") == 1


def test_accelerators_are_of_several_cores(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [devices.accelerators("gpu", cores) for cores in (1, 2, 8)] == [1, 2, 8]
    assert [devices.accelerators("tpu", cores, 2) for cores in (1, 2, 3, 8)] == [1, 1, 2, 4]
    assert devices.accelerators("cpu", 8) == devices.accelerators("auto", 8, 2) == 0
    monkeypatch.setenv(hardware.NAMES, "tpu:evo-1,tpu:evo-2")
    assert [devices.accelerators("tpu", cores) for cores in (1, 8, 9)] == [1, 1, 2]
    installed(monkeypatch, "tensorflow-tpu", "libtpu")
    devices.check_number("auto", 1)
    with pytest.raises(EvoPoseError, match="2 TPUs cannot be had together"):
        devices.check_number("tpu", 2)
    devices.check_number("cpu", 2)


def test_a_tpu_can_be_remote(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "tensorflow-tpu", "libtpu")
    monkeypatch.setenv("TPU_NAME", "mine")
    devices.check("tpu")


def test_a_gpu_can_be_hidden(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "nvidiactl").touch()
    with pytest.raises(EvoPoseError, match=r"no GPU here.*--config device=cpu"):
        devices.check("gpu")
    (machine / "nvidia0").touch()
    devices.check("gpu")
    assert devices.available() == ["gpu", "cpu"]
    for hidden in ("-1", "", " "):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert devices.available() == ["cpu"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert devices.available() == ["gpu", "cpu"]


def test_a_gpu_of_the_windows_subsystem_is_one(machine: Path) -> None:
    (machine / "dxg").touch()
    assert devices.available() == ["gpu", "cpu"]


def test_the_best_device_comes_first(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "nvidia0").touch()
    (machine / "accel0").touch()
    assert devices.available() == ["gpu", "cpu"]  # a TPU without its packages is of no use
    installed(monkeypatch, "tensorflow-tpu", "libtpu")
    assert devices.available() == ["tpu", "gpu", "cpu"]


def test_jax_needs_other_packages_on_a_tpu(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "accel0").touch()
    installed(monkeypatch, "jax")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(EvoPoseError, match=r"but libtpu is not installed; run `make install ACCELERATOR=jax`"):
        devices.check("tpu")
    installed(monkeypatch, "jax", "libtpu")
    assert devices.available() == ["tpu", "cpu"]
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(EvoPoseError, match="KERAS_BACKEND=torch: networks run on tensorflow or jax"):
        devices.available()
    monkeypatch.setenv("KERAS_BACKEND", "")
    assert devices.backend() == "tensorflow"


def test_unknown_devices_are_refused(machine: Path) -> None:
    with pytest.raises(EvoPoseError, match="one of auto, cpu, gpu, tpu"):
        devices.check("npu")


def test_tensorflow_is_not_needed_to_look() -> None:
    program = "import sys; from pipeline_lib import devices; devices.check('auto'); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_gpu_that_tensorflow_cannot_use_is_an_error_only_when_it_was_asked_for(
    machine: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    (machine / "nvidia0").touch()
    with pytest.raises(EvoPoseError, match="CUDA libraries are missing"):
        devices.select("gpu")
    assert devices.select("auto") == "cpu"
    assert "going on with the CPU" in caplog.text


def test_gpus_are_hidden_from_a_training_on_the_cpu(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    hidden = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *visible: hidden.append(visible))
    assert devices.select("cpu") == "cpu"
    assert devices.select("auto") == "cpu"  # TensorFlow may see what this machine does not offer
    assert hidden == [([], "GPU")] * 2
    (machine / "nvidia0").touch()
    assert devices.select("auto") == "gpu"
    assert len(hidden) == 2


def test_a_tpu_that_does_not_start_is_an_error_never_a_training_on_the_cpu(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real calls: this TensorFlow has no TPU kernels."""
    (machine / "accel0").touch()
    installed(monkeypatch, "tensorflow-tpu", "libtpu")
    with pytest.raises(EvoPoseError, match="the TPU cannot be started"):
        devices.strategy("tpu")
    with pytest.raises(EvoPoseError, match="the TPU cannot be started"):
        devices.strategy("auto")


def test_one_cpu_and_too_few() -> None:
    chosen = devices.strategy("cpu")
    assert chosen.num_replicas_in_sync == 1
    assert devices.name(chosen) == "CPU"
    with pytest.raises(EvoPoseError, match=r"9 devices asked for.*sees 1 of kind cpu"):
        devices.strategy("cpu", 9)


@pytest.mark.parametrize("deterministic", [True, False])
def test_threads_and_determinism_reach_tensorflow(monkeypatch: pytest.MonkeyPatch, deterministic: bool) -> None:
    import tensorflow as tf

    given = []
    for kind in ("intra", "inter"):
        name = f"set_{kind}_op_parallelism_threads"
        monkeypatch.setattr(tf.config.threading, name, lambda threads, kind=kind: given.append((kind, threads)))
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: given.append("deterministic"))
    devices.configure(57, deterministic=deterministic)
    assert given == [("intra", 57), ("inter", 57), *(["deterministic"] if deterministic else [])]


def test_as_many_devices_as_asked_for_share_the_batch(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    there = [SimpleNamespace(name=f"/device:CPU:{number}") for number in range(3)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: there if kind == "CPU" else [])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", list)
    assert devices.strategy("cpu", 2) == ["/device:CPU:0", "/device:CPU:1"]
    assert devices.strategy("cpu", 3) == [device.name for device in there]
    with pytest.raises(EvoPoseError, match=r"4 devices asked for.*sees 3 of kind cpu"):
        devices.strategy("cpu", 4)


@pytest.mark.parametrize("name", ["local", "mine"])
def test_as_many_tpu_cores_as_asked_for_share_the_batch(
    machine: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Four cores; TensorFlow's part is replaced, since it needs a TPU."""
    import tensorflow as tf

    calls = []
    cluster, tpu = tf.distribute.cluster_resolver, tf.tpu.experimental
    monkeypatch.setattr(cluster, "TPUClusterResolver", lambda tpu: f"resolver of {tpu}")
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", lambda resolver: calls.append(resolver))
    monkeypatch.setattr(tpu, "initialize_tpu_system", lambda resolver: f"topology of the {resolver}")
    monkeypatch.setattr(tpu.DeviceAssignment, "build", lambda topology, num_replicas: (topology, num_replicas))
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: range(4) if kind == "TPU" else [])
    monkeypatch.setattr(
        tf.distribute,
        "TPUStrategy",
        lambda resolver, experimental_device_assignment=None: experimental_device_assignment,
    )
    installed(monkeypatch, "tensorflow-tpu", "libtpu")
    (machine / "accel0").touch()
    if name != "local":
        monkeypatch.setenv("TPU_NAME", name)
    assert devices.strategy("tpu", 4) is None
    assert devices.strategy("tpu", 2) == (f"topology of the resolver of {name}", 2)
    with pytest.raises(EvoPoseError, match=r"5 devices asked for.*the TPU has 4 cores"):
        devices.strategy("auto", 5)
    assert calls == ([] if name == "local" else [f"resolver of {name}"] * 3)


def test_a_backend_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        EvoPoseError, match=r"KERAS_BACKEND=jax: it is not installed here; .*ACCELERATOR=jax VENV=\.venv-jax"
    ):
        devices.check("cpu")
