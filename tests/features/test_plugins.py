import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aqakit.features import plugins
from aqakit.features.errors import RecipeError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of two plugins, of which one cannot be imported."""
    folder = tmp_path / "plugin_house" / "heads"
    folder.mkdir(parents=True)
    (tmp_path / "plugin_house" / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "_shared.py").touch()
    (folder / "notes.txt").touch()
    (folder / "two_words.py").write_text("ANSWER = 42\n")
    (folder / "broken.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "plugin_house.heads"
    for name in [name for name in sys.modules if name.startswith("plugin_house")]:
        del sys.modules[name]


def test_a_file_is_a_plugin_and_listing_imports_none(package: str) -> None:
    assert plugins.names(package) == ["broken", "two-words"]


def test_only_the_chosen_one_is_imported(package: str) -> None:
    assert plugins.load(package, "two-words").ANSWER == 42
    with pytest.raises(RuntimeError, match="imported"):
        plugins.load(package, "broken")


@pytest.mark.parametrize("name", ["two_words", "-shared", "shared", "", "os", "..heads.broken"])
def test_another_name_is_refused_with_the_known_ones(package: str, name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        plugins.load(package, name)
    assert str(caught.value) == f"no head '{name}'; choose one of: broken, two-words"


def test_the_backbones_of_the_package_are_listed() -> None:
    assert "flow-hist" in plugins.names("aqakit.extract.backbones")
