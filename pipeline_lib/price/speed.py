"""How fast a device is with a network."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Speed:
    """Of one network on one device.

    Attributes:
        network: the training whose network it is, by its name.
        multiply_adds: of that network.
        train, validate: seconds an image.
        read: seconds an image of the input pipeline for training; None: not measured, there are no records yet.
        start: seconds from the building of the network to the end of its first step, the step itself aside.
        part: persons in the step that was measured.
    """

    network: str
    multiply_adds: float
    train: float
    validate: float
    read: float | None
    start: float
    part: int

    def of(self, multiply_adds: float) -> "Speed":
        """The same device on another network: a step takes time in proportion to its multiply-adds."""
        share = multiply_adds / self.multiply_adds
        return replace(self, multiply_adds=multiply_adds, train=share * self.train, validate=share * self.validate)
