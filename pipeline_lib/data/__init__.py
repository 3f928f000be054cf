"""From annotated images to batches: reading, conversion to records, augmentation, and a synthetic data set."""

import os

# No picture of more pixels is decoded: twice Pillow's own limit, at which Pillow refuses it, too. OpenCV reads this once, when
# it is loaded, and its own limit would let a file of some bytes take gigabytes.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2 * 89_478_485))
