"""Figures and summary of a run (matplotlib without a display; no TensorFlow). One module per figure."""
