"""From annotated images to batches: reading, conversion to records, augmentation, and a synthetic data set."""
