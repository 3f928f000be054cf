"""Going on with a training: what is saved of it, when, and where a new process takes it up."""

import logging
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from pipeline_lib.errors import ArtifactError, Preempted
from pipeline_lib.train.state import State, Store, Tensors

log = logging.getLogger(__name__)


class Resume(keras.callbacks.Callback):
    """Saves the state after every epoch and, when the process is asked to end, after the step that runs.

    Args:
        store: where the states lie; None: nothing is saved.
        model: compiled, its optimiser built.
        steps: of an epoch.
        title: what is trained, for messages.
        trainer: has `rows`, `best` and `values` of a state, and `restore(state)`.
    """

    def __init__(self, store: Store | None, model: keras.Model, steps: int, title: str, trainer: Any) -> None:
        super().__init__()
        self._store = store
        self._steps = steps
        self._title = title
        self._trainer = trainer
        self._asked = False
        self._epoch = 0
        self._metrics: Tensors = {}
        self._before: Tensors = {}
        state = store.load() if store is not None else None
        self.epoch, self.step = (state.epoch, state.step) if state else (0, 0)
        """Epochs that are done, and steps of the next one; a `step` of all of them: its validation is still to be done."""
        if store is not None:
            store.count("started")
        if store is not None and state is not None:
            _assign(_variables(model), state.variables, title)
            if state.step:  # Keras clears the metrics when an epoch begins, this one has begun before
                self._metrics = {name: state.variables[name] for name in _metrics(model)}
            trainer.restore(state)
            log.info("%s: goes on after %d epochs and %d steps", title, state.epoch, state.step)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it, SIGTERM ends the training with `Preempted`, as soon as its state is saved."""

        def ask(number: int, frame: Any) -> None:
            self._asked = True

        before = signal.signal(signal.SIGTERM, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch
        if self._metrics:
            _assign(_metrics(self.model), self._metrics, self._title)
            self._metrics = {}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._asked:
            self._preempt(self._done(batch + 1), {})

    def on_test_begin(self, logs: Any = None) -> None:
        # Training's metrics, which validation clears.
        self._synchronise()
        self._before = {name: np.array(variable) for name, variable in _metrics(self.model).items()}

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._asked:
            self._preempt(self._steps, self._before)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._save(epoch + 1, 0, {})
        if self._asked:
            self._end()

    def _done(self, batches: int) -> int:
        return batches + (self.step if self._epoch == self.epoch else 0)

    def _preempt(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._save(self._epoch, step, metrics)
        self._end()

    def _end(self) -> None:
        if self._store is None:
            raise Preempted(f"{self._title}: asked to end")
        self._store.count("preempted")
        raise Preempted(f"{self._title}: asked to end; the state is saved, the next run goes on from here")

    def _synchronise(self) -> None:
        if keras.backend.backend() == "jax":  # which trains on copies of the variables
            self.model.jax_state_sync()

    def _save(self, epoch: int, step: int, metrics: Mapping[str, Any]) -> None:
        if self._store is None:
            return
        self._synchronise()
        variables = {name: np.array(variable) for name, variable in _variables(self.model).items()}
        trainer = self._trainer
        state = State(epoch, step, {**variables, **metrics}, trainer.best, trainer.rows, trainer.values)
        self._store.save(state)


def _variables(model: keras.Model) -> dict[str, Any]:
    """All that training changes, by a name that is the same in every process."""
    groups = {"model": model.variables, "optimizer": model.optimizer.variables}
    named = {
        f"{group}/{index:05d}": each for group, variables in groups.items() for index, each in enumerate(variables)
    }
    return named | _metrics(model)


def _metrics(model: keras.Model) -> dict[str, Any]:
    return {f"metrics/{index:05d}": each for index, each in enumerate(model.metrics_variables)}


def _assign(variables: Mapping[str, Any], values: Mapping[str, Any], where: str) -> None:
    if missing := sorted(set(variables) - set(values)):
        raise ArtifactError(
            f"{where}: the state of the training lacks {missing[0]}; delete the folder .training beside its outputs and run again"
        )
    for name, variable in variables.items():
        variable.assign(values[name])
