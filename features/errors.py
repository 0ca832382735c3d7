"""Errors that a user can mend; the command line prints each as one line.

A message names the file or value that is wrong and what to do about it. Mistakes of the calling
program raise :class:`ValueError` instead.
"""


class UserError(Exception):
    """Base of everything that ends in one line instead of a traceback."""


class ManifestError(UserError):
    """The table of videos, pairs or splits cannot be used as it is."""


class VideoError(UserError):
    """One video cannot be turned into features; the rest of a batch goes on."""


class StoreError(UserError):
    """A feature store, or one file of it, cannot be read or written."""


class DiskFullError(StoreError):
    """No space is left for another part; nothing already stored is touched."""


class WeightsError(UserError):
    """Network weights are missing or do not fit the network."""


class RecipeError(UserError):
    """A head, a feature or an option was asked for that does not exist or does not fit."""
