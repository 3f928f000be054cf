"""What a run will take: device-hours from a device's speed, storage, money. Seconds, bytes, and device-hours of one device each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from pipeline_lib.artifacts import SCHEMA_VERSION, read_document
from pipeline_lib.errors import ArtifactError
from pipeline_lib.explain import explain
from pipeline_lib.price.speed import Speed
from pipeline_lib.price.work import SEARCH, Training
from pipeline_lib.search.simulation import makespan

HOUR = 3600


@dataclass(frozen=True)
class Row:
    """Trainings that are alike.

    Attributes:
        part, name, number, images, val_images, multiply_adds, parameters, devices: as `work.Training`; images are those of one.
        measured: whether the speed is that of this very network, and not of another one in proportion to multiply-adds.
        seconds: of one training from its process' start to its end, with all its devices.
    """

    part: str
    name: str
    number: int
    images: int
    val_images: int
    multiply_adds: float
    parameters: float
    devices: int
    measured: bool
    seconds: float

    @property
    def device_hours(self) -> float:
        """Of all trainings of the row."""
        return self.number * self.devices * self.seconds / HOUR


@dataclass(frozen=True)
class Store:
    """Bytes of one kind of files; None: not known beforehand."""

    name: str
    bytes: float | None


@dataclass(frozen=True)
class Estimate:
    """All of it.

    Attributes:
        experiment: the folder in results/.
        device: what was measured.
        speeds: the measurements.
        launch: seconds that a training's process takes before it builds its network.
        rows, storage: what there is to do and to keep.
        at_once: devices that work at the same time.
        price: of a device for an hour, or None.
    """

    experiment: str
    device: str
    speeds: tuple[Speed, ...]
    launch: float
    rows: tuple[Row, ...]
    storage: tuple[Store, ...]
    at_once: int
    price: float | None

    @property
    def evaluations(self) -> int:
        """Networks that the search trains."""
        return sum(row.number for row in self.rows if row.part == SEARCH)

    @property
    def device_hours(self) -> float:
        """Of all trainings."""
        return sum(row.device_hours for row in self.rows)

    @property
    def hours(self) -> float:
        """From the first training to the last: generation by generation, then the final networks, and the refiner."""
        waves: dict[str, list[Row]] = {}
        for row in self.rows:
            waves.setdefault(row.name if row.part == SEARCH else row.part, []).append(row)
        return sum(self._wave(rows) for rows in waves.values()) / HOUR

    def _wave(self, rows: Iterable[Row]) -> float:
        # Devices that share a batch are busy together.
        rows = list(rows)
        groups = max(1, self.at_once // max(row.devices for row in rows))
        return makespan([row.seconds for row in rows for _ in range(row.number)], groups)

    def to_json(self) -> dict[str, Any]:
        """For plan.json."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Self:
        """Of a plan.json; raises `ArtifactError` for another content."""
        content = read_document(path, "delete it, or make it again with scripts/plan.py")
        try:
            del content["schema_version"]
            return TypeAdapter(cls).validate_python(content)
        except ValidationError as error:
            problem = explain(error)
        except (KeyError, ValueError, AttributeError, TypeError) as error:
            problem = str(error)
        raise ArtifactError(f"{path}: not an estimate ({problem}); delete it, or make it again with scripts/plan.py")


def rows(trainings: Sequence[Training], speeds: Sequence[Speed], launch: float) -> tuple[Row, ...]:
    """What each of the `trainings` takes. Devices that share a batch are taken to be so many times as fast."""
    return tuple(_row(training, speeds, launch) for training in trainings)


def _row(training: Training, speeds: Sequence[Speed], launch: float) -> Row:
    own = next((speed for speed in speeds if speed.network == training.name), None)
    # Small networks use a device less well than large ones: the nearest in size is the best guess.
    nearest = min(speeds, key=lambda speed: abs(speed.multiply_adds - training.multiply_adds))
    speed = (own or nearest).of(training.multiply_adds)
    step = speed.train if speed.read is None else max(speed.train, speed.read * training.settings.devices)
    computed = (training.images * step + training.val_images * speed.validate) / training.settings.devices
    return Row(
        part=training.part,
        name=training.name,
        number=training.number,
        images=training.images,
        val_images=training.val_images,
        multiply_adds=training.multiply_adds,
        parameters=training.parameters,
        devices=training.settings.devices,
        measured=own is not None,
        seconds=launch + speed.start + computed,
    )


def storage(named: Mapping[str, float | None]) -> tuple[Store, ...]:
    """Of {what: bytes}."""
    return tuple(Store(name, size) for name, size in named.items())
