"""One line for whatever is wrong with a TOML file that a user writes."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from ..features.errors import RecipeError
from ..features.table import shortened


@contextmanager
def naming(file: str | Path) -> Iterator[None]:
    """Turn what reading and checking raises into a line that names the file, the key and the cure.

    Args:
        file: as the user knows it.

    Raises:
        RecipeError: it cannot be read, is not TOML, or does not say what it must.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise RecipeError(f"{file}: cannot be read ({reason}); correct its path") from None
    except ValidationError as error:
        raise RecipeError(f"{file}: {_first(error)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: is not TOML ({error}); correct it") from None
    except RecipeError as error:
        raise RecipeError(f"{file}: {error}") from None


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, in a sentence."""
    detail = error.errors()[0]
    place = ".".join(str(part + 1 if isinstance(part, int) else part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"unknown key '{place}'; remove or correct it"
    if detail["type"] == "missing":
        return f"key '{place}' is missing; add it"
    if detail["type"] == "value_error":
        return f"{place}: {detail['ctx']['error']}"
    return f"{place} is {shortened(str(detail['input']))}: {detail['msg']}; correct it"
