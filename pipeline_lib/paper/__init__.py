"""The values that the paper prints, as data: its tables, its searches, and where it contradicts itself."""
