"""Adam whose update of a variable is one operation."""

from typing import Any

import keras
from keras import ops


class Adam(keras.optimizers.Adam):
    """`keras.optimizers.Adam` with TensorFlow's fused update.

    Keras composes the update of each variable of some twenty operations, which costs a search network half of the time
    that its first step takes to be traced and optimised. Other backends get Keras' own.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update `variable` and its two moments; arithmetic is that of `keras.optimizers.Adam`, up to rounding."""
        if keras.backend.backend() != "tensorflow":
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        step = ops.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=ops.power(ops.cast(self.beta_1, variable.dtype), step),
            beta2_power=ops.power(ops.cast(self.beta_2, variable.dtype), step),
            lr=ops.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=ops.cast(gradient, variable.dtype),
        )


def _handle(variable: Any) -> Any:
    """TensorFlow's handle of a variable of Keras or of TensorFlow; of the current replica's part where there are several."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle
