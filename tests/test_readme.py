"""The README's tutorial, copied and run; and that it knows every command."""

import re
import shlex
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from aqakit.cli import main
from aqakit.extract.synthetic import write_video
from aqakit.extract.synthetic_plan import plan
from aqakit.extract.synthetic_scene import render

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_tutorial_works_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    manifest, pairs = blocks("csv")
    (tmp_path / "manifest.csv").write_text(manifest)
    (tmp_path / "pairs.csv").write_text(pairs)
    (tmp_path / "videos").mkdir()
    skills = iter(np.linspace(1, 0, 6))
    for line in manifest.splitlines()[1:]:
        performance = plan(float(next(skills)), seed=1, size=(64, 48), fps=5)
        write_video(tmp_path / line.split(",")[1], render(performance), fps=5)
    commands = [line for block in blocks("console") for line in block.splitlines()]
    assert len(commands) >= 4
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "aqakit"
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, f"{command}\n{result.output}"
    assert (tmp_path / "runs" / "attention" / "metrics.json").exists()


def commands_of(group: click.Group, prefix: str) -> list[str]:
    found = []
    for name, command in group.commands.items():
        words = f"{prefix} {name}"
        found += commands_of(command, words) if isinstance(command, click.Group) else [words]
    return found


def test_every_command_is_in_the_table() -> None:
    for words in commands_of(main, "aqakit"):
        assert f"| `{words}` |" in README, words


def test_every_command_explains_itself() -> None:
    for words in commands_of(main, "aqakit"):
        result = CliRunner().invoke(main, [*words.split()[1:], "--help"])
        assert result.exit_code == 0
        assert result.output.startswith("Usage:")


def test_the_readme_names_the_default_of_every_backbone() -> None:
    from aqakit.extract.request import BACKBONES
    from aqakit.features import plugins

    for name in plugins.names(BACKBONES):
        info = plugins.load(BACKBONES, name).INFO
        row = next(line for line in README.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"`{info.sampling.text}`" in row
        for layer, (width,) in info.layers.items():
            assert f"`{layer}` {width}" in row
        for word in (*info.presets, *(checkpoint.file for checkpoint in info.checkpoints)):
            assert f"`{word}`" in row
