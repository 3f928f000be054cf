"""Searches that are killed again and again, and have to come to the same end."""
