"""EvoPose: evolve efficient 2D human-pose networks (see README.md)."""
