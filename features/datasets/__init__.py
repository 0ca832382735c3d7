"""Importers of published datasets, one file each; see ``features/dataset.py``."""
