"""Adam whose update of a variable is one operation."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops


class _Factors(NamedTuple):
    """What the updates of all variables share: scalar tensors, so that one computation serves them all."""

    rate: Any
    beta1: Any
    beta2: Any
    beta1_power: Any
    beta2_power: Any
    epsilon: Any


class Adam(keras.optimizers.Adam):
    """`keras.optimizers.Adam` with TensorFlow's fused update.

    Keras composes the update of each variable of some twenty operations, which costs a search network half of the time
    that its first step takes to be traced and optimised. Other backends get Keras' own.
    """

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        # Keras hands the rate through to `update_step`, on every replica; the other factors go with it.
        if keras.backend.backend() == "tensorflow":
            learning_rate = self._factors(learning_rate)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _all_reduce_sum_gradients(self, grads_and_vars: Sequence[Any]) -> Sequence[Any]:
        import tensorflow as tf

        if tf.distribute.get_strategy().num_replicas_in_sync == 1:
            return grads_and_vars  # there is nothing to sum, and TensorFlow would copy every gradient
        return super()._all_reduce_sum_gradients(grads_and_vars)

    def _factors(self, rate: Any) -> _Factors:
        step = ops.cast(self.iterations + 1, "float32")
        beta1, beta2 = (ops.convert_to_tensor(beta, "float32") for beta in (self.beta_1, self.beta_2))
        powers = ops.power(beta1, step), ops.power(beta2, step)
        return _Factors(
            ops.cast(rate, "float32"), beta1, beta2, *powers, ops.convert_to_tensor(self.epsilon, "float32")
        )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update `variable` and its two moments; arithmetic is that of `keras.optimizers.Adam`, up to rounding."""
        if not isinstance(learning_rate, _Factors):
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        shared = _Factors(*(ops.cast(factor, variable.dtype) for factor in learning_rate))
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=shared.beta1_power,
            beta2_power=shared.beta2_power,
            lr=shared.rate,
            beta1=shared.beta1,
            beta2=shared.beta2,
            epsilon=shared.epsilon,
            grad=ops.cast(gradient, variable.dtype),
        )


def _handle(variable: Any) -> Any:
    """TensorFlow's handle of a variable of Keras or of TensorFlow; of the current replica's part where there are several."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle
