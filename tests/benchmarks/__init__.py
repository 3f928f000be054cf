"""Benchmarks of the hot paths (`make bench`): input pipeline, training step, start of a training, DAG.

Whatever is compared is measured in one run on one machine, in turns. Nothing here is asserted: times are for people.
"""
