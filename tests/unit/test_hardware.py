"""Which accelerators there are, which of them go together, and what a process is shown; the machine is a folder of the test."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib import hardware
from pipeline_lib.errors import EvoPoseError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its device files; none."""
    (tmp_path / "dev" / "vfio").mkdir(parents=True)
    (tmp_path / "dev" / "vfio" / "vfio").touch()
    monkeypatch.setattr(hardware, "ROOT", tmp_path)
    for name in os.environ:
        if name.startswith(("TPU_", "CUDA_", "EVOPOSE_", "SLURM_")):
            monkeypatch.delenv(name)
    return tmp_path / "dev"


def files(machine: Path, *names: str) -> None:
    for name in names:
        (machine / name).touch()


def test_what_is_found(machine: Path) -> None:
    assert hardware.names("gpu") == hardware.names("tpu") == []
    files(machine, "nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "vfio/17", "vfio/18", "vfio/19")
    assert hardware.names("gpu") == ["gpu:0", "gpu:1"]
    # The numbers of the files are the system's, those of the chips begin with 0.
    assert hardware.names("tpu") == ["tpu:0", "tpu:1", "tpu:2"]
    files(machine, "accel0", "accel1")
    assert hardware.names("tpu") == ["tpu:0", "tpu:1"]


def test_what_is_shown(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(machine, *(f"nvidia{number}" for number in range(4)), *(f"accel{number}" for number in range(4)))
    for text, expected in {
        "2,3": ["gpu:2", "gpu:3"],
        "3, 1": ["gpu:1", "gpu:3"],
        "1,-1,2": ["gpu:1"],
        "": [],
        "GPU-8a, GPU-2b": ["gpu:GPU-2b", "gpu:GPU-8a"],
    }.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
        assert hardware.names("gpu") == expected
    monkeypatch.setenv("TPU_VISIBLE_CHIPS", "2,3")
    assert hardware.names("tpu") == ["tpu:2", "tpu:3"]


def test_what_is_named(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(machine, *(f"nvidia{number}" for number in range(4)), "accel0")
    monkeypatch.setenv("EVOPOSE_ACCELERATORS", "gpu:10, gpu:2,gpu:2 ,tpu:evo-2,tpu:3,")
    assert hardware.names("gpu") == ["gpu:2", "gpu:10"]
    assert hardware.names("tpu") == ["tpu:3", "tpu:evo-2"]
    # A scheduler's word counts, too; remote TPUs are no chips.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    monkeypatch.setenv("TPU_VISIBLE_CHIPS", "0")
    assert hardware.names("gpu") == ["gpu:2"]
    assert hardware.names("tpu") == ["tpu:evo-2"]
    monkeypatch.setenv("EVOPOSE_ACCELERATORS", "tpu:0")
    assert hardware.names("gpu") == []
    monkeypatch.setenv("EVOPOSE_ACCELERATORS", " ")
    assert hardware.names("gpu") == ["gpu:0", "gpu:2"]


@pytest.mark.parametrize("name", ["0", "tpu", "tpu:", "npu:0", "gpu 0"])
def test_a_wrong_name_is_refused(machine: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("EVOPOSE_ACCELERATORS", f"tpu:1,{name}")
    with pytest.raises(
        EvoPoseError, match=rf"EVOPOSE_ACCELERATORS: '{name}' is not the name of an accelerator; name them as"
    ):
        hardware.names("gpu")


def test_a_remote_tpu(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPU_NAME", "evo-1")
    assert hardware.remote_name() == "evo-1"
    assert hardware.names("tpu") == ["tpu:evo-1"]
    assert hardware.cores("tpu") == 8
    monkeypatch.setenv("TPU_NAME", "local")
    assert hardware.remote_name() is None
    assert hardware.names("tpu") == []
    files(machine, "accel0")
    assert hardware.names("tpu") == ["tpu:0"]
    assert hardware.cores("tpu") == hardware.cores("gpu") == 1


@pytest.mark.parametrize(
    ("vendor", "device", "expected"), [("0x1ae0", "0x0027", 2), ("0x1ae0", "0x0063", 1), ("0x8086", "0x0027", 1)]
)
def test_chips_of_the_second_and_third_generation_are_two_devices(
    machine: Path, vendor: str, device: str, expected: int
) -> None:
    files(machine, "accel0")
    for slot, (own, kind) in enumerate((("0x8086", "0x1237"), (vendor, device))):
        folder = machine.parent / f"sys/bus/pci/devices/0000:00:0{slot}.0"
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{own}\n")
        (folder / "device").write_text(f"{kind}\n")
    assert hardware.cores("tpu") == expected


NEIGHBOURS = [
    # there, asked for, what can be had
    ("0,1,2,3", 1, ["0", "1", "2", "3"]),
    ("0,1,2,3", 2, ["0,1", "2,3"]),
    ("0,1,2,3,4,5,6,7", 4, ["0,1,2,3", "4,5,6,7"]),
    ("0,1,2,3,4,5,6,7", 8, ["0,1,2,3,4,5,6,7"]),
    ("1,2,3", 2, ["2,3"]),
    ("1,2", 2, []),
    ("0,1,2,3", 3, []),
    ("evo-1,evo-2", 1, ["evo-1", "evo-2"]),
    ("evo-1,evo-2", 2, []),
]


@pytest.mark.parametrize(("there", "number", "expected"), NEIGHBOURS)
def test_chips_that_are_had_together_are_neighbours(
    machine: Path, monkeypatch: pytest.MonkeyPatch, there: str, number: int, expected: list[str]
) -> None:
    names = [f"tpu:{name}" for name in there.split(",")]
    monkeypatch.setenv("EVOPOSE_ACCELERATORS", ",".join(names))
    found = hardware._neighbours(names, number)
    assert [",".join(name.removeprefix("tpu:") for name in group) for group in found] == expected
    if expected:
        hardware.check("tpu", number)
    else:
        with pytest.raises(EvoPoseError, match=rf"{number} TPUs cannot be had together of tpu:"):
            hardware.check("tpu", number)


def test_all_chips_of_a_machine_can_be_had_however_many(machine: Path) -> None:
    files(machine, "accel0", "accel1", "accel2")
    hardware.check("tpu", 3)
    assert hardware.visibility("tpu", ["tpu:0", "tpu:1", "tpu:2"]) == {}
    with pytest.raises(
        EvoPoseError, match=r"4 accelerators are asked for, but there are 3 here \(tpu:0, tpu:1, tpu:2\)"
    ):
        hardware.check("tpu", 4)
    with pytest.raises(EvoPoseError, match=r"1 accelerators are asked for, but there are 0 here \(none\)"):
        hardware.check("gpu", 1)


def test_what_a_process_sees(machine: Path) -> None:
    assert hardware.visibility("gpu", ["gpu:1", "gpu:3"]) == {"CUDA_VISIBLE_DEVICES": "1,3"}
    assert hardware.visibility("tpu", ["tpu:evo-1"]) == {"TPU_NAME": "evo-1"}
    files(machine, *(f"accel{number}" for number in range(8)))
    for chips, bounds in {"5": "1,1,1", "2,3": "1,2,1", "4,5,6,7": "2,2,1"}.items():
        seen = hardware.visibility("tpu", [f"tpu:{chip}" for chip in chips.split(",")])
        assert seen["TPU_VISIBLE_CHIPS"] == seen["TPU_VISIBLE_DEVICES"] == chips
        assert seen["TPU_CHIPS_PER_PROCESS_BOUNDS"] == seen["TPU_CHIPS_PER_HOST_BOUNDS"] == bounds
        assert seen["TPU_PROCESS_BOUNDS"] == seen["TPU_HOST_BOUNDS"] == "1,1,1"
    # Processes that run at once, such as those of chips 0 and 1, listen on ports of their own.
    ports = {hardware.visibility("tpu", [f"tpu:{chip}"])["TPU_PROCESS_PORT"] for chip in range(8)}
    assert len(ports) == 8


LEASE = """
import os, sys
from pipeline_lib import devices
devices._missing_packages = list
devices.lease(sys.argv[1], *eval(sys.argv[2]))
print(os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("TPU_VISIBLE_CHIPS"), os.environ.get("TPU_NAME"))
"""


def lease(folder: Path, names: str, device: str, *arguments: object, **more: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TPU_", "CUDA_"))}
    environment |= {"EVOPOSE_ACCELERATORS": names, "EVOPOSE_LEASES": str(folder), "PYTHONPATH": str(ROOT), **more}
    command = [sys.executable, "-c", LEASE, device, repr(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("names", "device", "arguments", "seen"),
    [
        ("gpu:0,gpu:1", "gpu", (1, "one"), ["0", "None", "None"]),
        ("gpu:0,gpu:1", "auto", (None, "two", 2), ["0,1", "None", "None"]),
        ("gpu:0,gpu:1", "auto", (0, "planned elsewhere"), ["0", "None", "None"]),
        ("gpu:0,gpu:1", "cpu", (1, "none"), ["None", "None", "None"]),
        ("gpu:0,tpu:2,tpu:3", "auto", (2, "two"), ["None", "2,3", "None"]),
        ("tpu:evo-1", "tpu", (None, "eight cores", 8), ["None", "None", "evo-1"]),
    ],
)
def test_a_process_sees_what_it_has_leased(
    tmp_path: Path, names: str, device: str, arguments: tuple[object, ...], seen: list[str]
) -> None:
    assert lease(tmp_path, names, device, *arguments) == seen
    assert (tmp_path / "queue").exists() == (device != "cpu")


def test_a_clusters_jobs_lease_gpus_each_for_itself(tmp_path: Path) -> None:
    """Each job may have its own GPU 0. Chips of TPUs have the same number in all jobs of a machine."""
    lease(tmp_path, "gpu:0", "gpu", 1, "job", SLURM_JOB_ID="17", CUDA_VISIBLE_DEVICES="0")
    assert (tmp_path / "job-17" / "gpu:0.lease").exists() and not (tmp_path / "gpu:0.lease").exists()
    lease(tmp_path, "tpu:0", "tpu", 1, "job", SLURM_JOB_ID="17")
    assert (tmp_path / "tpu:0.lease").exists()


def test_it_is_too_late_when_tensorflow_is_loaded(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOPOSE_ACCELERATORS", "gpu:0")
    monkeypatch.setitem(sys.modules, "tensorflow", object())
    with pytest.raises(RuntimeError, match="before TensorFlow or JAX is loaded"):
        hardware.lease("gpu", 1, "late")
