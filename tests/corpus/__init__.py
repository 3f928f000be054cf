"""Malformed inputs of every kind, made from a good one by seeded changes, and what the programs say of them."""
