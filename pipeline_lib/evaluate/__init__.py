"""Test protocol: flip test, decoding, COCO result files and metrics (paper, section V)."""
