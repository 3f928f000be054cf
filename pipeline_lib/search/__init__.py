"""The evolutionary search: genotypes, mutation, weight transfer, fitness, selection, scaling. NumPy only."""
