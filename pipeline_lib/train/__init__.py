"""Training of one network: targets, loss, learning rate, metric, and the loop around Keras' `fit`."""
