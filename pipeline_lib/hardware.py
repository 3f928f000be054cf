"""The accelerators of this machine by name, and what makes a process see only those that it has leased.

A name is `tpu:` or `gpu:` and a number of this machine's, as in tpu:0, or `tpu:` and what a remote TPU is called, as in
tpu:evo-1. Nothing here loads TensorFlow or JAX: they look at the environment once, when they are loaded.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from pipeline_lib import leases
from pipeline_lib.errors import EvoPoseError

NAMES = "EVOPOSE_ACCELERATORS"
"""Environment variable: those to be used, as tpu:0,tpu:1; unset: all that are found."""
LEASES = "EVOPOSE_LEASES"
"""Environment variable: the folder of leases, common to all who share the accelerators."""

ROOT = Path("/")
KINDS = ("gpu", "tpu")
TPU_FILES = ("dev/accel[0-9]*", "dev/vfio/[0-9]*")
GPU_FILES = ("dev/nvidia[0-9]*", "dev/dxg")
GOOGLE, TWO_CORES = "0x1ae0", "0x0027"
"""PCI: the vendor of TPUs, and the device that v2 and v3 are, whose chips are two devices each; later ones are one."""
REMOTE_CORES = 8
"""Of a remote TPU, which is a v2-8 or v3-8 unless the profile says otherwise."""
BOUNDS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}
"""How so many neighbouring chips lie in a machine."""
FIRST_PORT = 8476

_held = ExitStack()


def names(kind: str) -> list[str]:
    """The accelerators of the `kind` gpu or tpu, in name order: those of EVOPOSE_ACCELERATORS, else what is found.

    Both only as far as CUDA_VISIBLE_DEVICES or TPU_VISIBLE_CHIPS show them. Raises `EvoPoseError` for a wrong name.
    """
    chosen = _chosen(kind)
    shown = _shown("CUDA_VISIBLE_DEVICES" if kind == "gpu" else "TPU_VISIBLE_CHIPS")
    if chosen is None and kind == "tpu" and (remote := remote_name()):
        return [f"tpu:{remote}"]
    found = chosen
    if found is None:
        there = len(_files(GPU_FILES if kind == "gpu" else TPU_FILES))
        # What is shown may have other names than numbers, such as a GPU's UUID.
        found = [str(number) for number in range(there)] if shown is None or not there else shown
    elif shown is not None:
        found = [each for each in found if each in shown or (kind == "tpu" and not each.isdigit())]
    return [f"{kind}:{each}" for each in sorted(set(found), key=_order)]


def remote_name() -> str | None:
    """The remote TPU that this process is to use; None for this machine's own."""
    name = os.environ.get("TPU_NAME", "")
    return None if name in ("", "local") else name


def cores(kind: str) -> int:
    """How many devices TensorFlow and JAX see in one accelerator of the `kind` gpu or tpu."""
    if kind != "tpu":
        return 1
    if any(not _is_chip(name) for name in names(kind)):
        return REMOTE_CORES
    folder = ROOT / "sys/bus/pci/devices"
    found = {
        (each.parent / "device").read_text(encoding="ascii").strip()
        for each in folder.glob("*/vendor")
        if each.read_text(encoding="ascii").strip() == GOOGLE
    }
    return 2 if TWO_CORES in found else 1


def lease(kind: str, number: int, title: str) -> list[str]:
    """Have `number` accelerators of the `kind` gpu or tpu for this process alone, until it ends; wait until they are free.

    The process sees no others, for which it must not have loaded TensorFlow or JAX yet. `title` says to others what they wait
    for. Returns the names.

    Raises:
        EvoPoseError: there are not so many, or so many chips cannot be split off.
    """
    if {"tensorflow", "jax"} & sys.modules.keys():
        raise RuntimeError("accelerators are leased before TensorFlow or JAX is loaded, which then takes what it sees")
    check(kind, number)
    there = names(kind)

    def choose(free: Sequence[str]) -> Sequence[str] | None:
        if kind == "tpu":
            return next((group for group in _neighbours(there, number) if set(group) <= set(free)), None)
        return free[:number] if len(free) >= number else None

    taken = _held.enter_context(leases.leased(there, choose, folder=_folder(kind), title=title))
    os.environ.update(visibility(kind, taken))
    return taken


def check(kind: str, number: int) -> None:
    """Raise `EvoPoseError` when one process can never have `number` accelerators of the `kind` gpu or tpu."""
    there = names(kind)
    if len(there) < number:
        raise EvoPoseError(
            f"{number} accelerators are asked for, but there are {len(there)} here ({', '.join(there) or 'none'}); lower "
            f"`devices` of this training, or say with {NAMES} which there are"
        )
    if kind == "tpu" and not _neighbours(there, number):
        raise EvoPoseError(
            f"{number} TPUs cannot be had together of {', '.join(there)}: a process has one remote TPU, or "
            f"{', '.join(map(str, BOUNDS))} neighbouring chips (as 0 to 3, 4 to 7) of this machine; change `devices` of this "
            "training"
        )


def visibility(kind: str, taken: Sequence[str]) -> dict[str, str]:
    """The environment in which TensorFlow and JAX see the accelerators `taken`, and no others."""
    own = [name.partition(":")[2] for name in taken]
    if kind == "gpu":
        return {"CUDA_VISIBLE_DEVICES": ",".join(own)}
    if not _is_chip(taken[0]):
        return {"TPU_NAME": own[0]}
    if len(own) == len(_files(TPU_FILES)):  # all of the machine, which libtpu knows best itself
        return {}
    # Several processes of one machine: each is told that it is alone, with these chips. Older libraries know the names
    # with HOST and DEVICES.
    bounds, port = BOUNDS[len(own)], FIRST_PORT + int(own[0])
    return {
        **dict.fromkeys(("TPU_VISIBLE_CHIPS", "TPU_VISIBLE_DEVICES"), ",".join(own)),
        **dict.fromkeys(("TPU_CHIPS_PER_PROCESS_BOUNDS", "TPU_CHIPS_PER_HOST_BOUNDS"), bounds),
        **dict.fromkeys(("TPU_PROCESS_BOUNDS", "TPU_HOST_BOUNDS"), BOUNDS[1]),
        "TPU_PROCESS_ADDRESSES": f"localhost:{port}",
        "TPU_PROCESS_PORT": str(port),
        "CLOUD_TPU_TASK_ID": "0",
    }


def _chosen(kind: str) -> list[str] | None:
    """What EVOPOSE_ACCELERATORS says of a kind: numbers and names without it; None when the variable is not set."""
    text = os.environ.get(NAMES, "").strip()
    if not text:
        return None
    found = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        own, _, rest = name.partition(":")
        if own not in KINDS or not rest:
            raise EvoPoseError(
                f"{NAMES}: {name!r} is not the name of an accelerator; name them as tpu:0,tpu:1 or gpu:0, a remote TPU as "
                "tpu:its-name"
            )
        if own == kind:
            found.append(rest)
    return found


def _shown(variable: str) -> list[str] | None:
    """What a variable such as CUDA_VISIBLE_DEVICES shows: up to the first -1; None when it is not set."""
    if variable not in os.environ:
        return None
    shown = []
    for part in os.environ[variable].split(","):
        if part.strip() in ("", "-1"):
            break
        shown.append(part.strip())
    return shown


def _is_chip(name: str) -> bool:
    return name.partition(":")[2].isdigit()


def _order(name: str) -> tuple[int, int, str]:
    return (0, int(name), "") if name.isdigit() else (1, 0, name)


def _files(patterns: tuple[str, ...]) -> list[Path]:
    """The device files of one driver: those of the first pattern that has any."""
    return next((found for pattern in patterns if (found := sorted(ROOT.glob(pattern)))), [])


def _neighbours(there: Sequence[str], number: int) -> list[list[str]]:
    """The TPUs that one process can have together: a remote one, chips that lie beside each other, or all of the machine."""
    if number == 1:
        return [[name] for name in there]
    chips = [name for name in there if _is_chip(name)]
    if number == len(chips) == len(_files(TPU_FILES)):
        return [chips]
    if number not in BOUNDS:
        return []
    groups: dict[int, list[str]] = {}
    for name in chips:
        groups.setdefault(int(name.partition(":")[2]) // number, []).append(name)
    return [group for group in groups.values() if len(group) == number]


def _folder(kind: str) -> Path:
    """Where leases lie: on this machine, whatever TMPDIR a job has; each user's own.

    A cluster that gives each job GPUs of its own may number them anew in every job.
    """
    folder = Path(os.environ.get(LEASES) or f"/tmp/evopose-{os.getuid()}")
    job = os.environ.get("SLURM_JOB_ID")
    return folder / f"job-{job}" if kind == "gpu" and job and "CUDA_VISIBLE_DEVICES" in os.environ else folder
