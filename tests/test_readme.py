"""The README's tutorial, copied and run; and that it knows every command."""

import re
import shlex
import shutil
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from aqakit.cli import main
from aqakit.extract.synthetic import write_video
from aqakit.extract.synthetic_plan import plan
from aqakit.extract.synthetic_scene import render
from aqakit.features.manifest import Manifest, Pair, Video
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec
from aqakit.features.store import FeatureStore

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


def numbers_commands() -> list[str]:
    section = README.split("## Honest numbers")[1].split("\n## ")[0].replace("\\\n", " ")
    return re.findall(r"^    (aqakit .*)$", section, flags=re.MULTILINE)


def test_the_batch_works_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng, store = np.random.default_rng(0), FeatureStore.create(tmp_path / "store")
    ids = [f"{task}-{number}" for task in ("surgery", "drawing") for number in range(6)]
    for key in (("i3d", "rgb", "pool"), ("c3d", "rgb", "fc6"), ("flow-hist", "flow", "hist")):
        spec = FeatureSpec(*key, Sampling.parse("steps-4x1"), "made")
        for place, id in enumerate(ids):
            values = rng.normal(place % 6, 1, (4, 3)).astype(np.float32)
            with store.begin(spec, id, Source(id, 1, 1, f"{place:064}"), values.shape, 1) as part:
                part.append(values)
                part.finish(np.zeros((4, 3)), np.zeros((4, 1)), {})
    videos = tuple(Video(id, task=id.split("-")[0]) for id in ids)
    pairs = tuple(
        Pair(f"{task}-{a}", f"{task}-{b}")
        for task in ("surgery", "drawing")
        for a in range(6)
        for b in range(a)
    )
    cells = tuple("test" if number % 2 else "train" for number in range(len(pairs)))
    manifest = Manifest(videos, {}, pairs, {"1": cells, "default": cells})
    manifest.write(tmp_path / "manifest")
    for name in ("videos", "pairs"):
        shutil.copy(tmp_path / "manifest" / f"{name}.csv", tmp_path)
    (tmp_path / "videos.csv").rename(tmp_path / "manifest.csv")
    (matrix,) = blocks("toml")
    quick = matrix.replace("seeds = 3", "seeds = 1").replace(
        'features = ["i3d"]\n\n', 'features = ["i3d"]\noptions = { epochs = 1, hidden = 2 }\n\n'
    )
    assert quick.count("epochs") == 1
    (tmp_path / "matrix.toml").write_text(quick)
    commands = numbers_commands()
    assert [command.split()[1] for command in commands] == ["train", "baselines", "table", "table"]
    for command in commands:
        _, *words = shlex.split(command)
        if words[0] == "train":
            words += ["--set", "epochs=1", "--set", "hidden=2", "--seeds", "1"]
        result = CliRunner().invoke(main, words + ["--jobs", "1"] * (words[0] == "baselines"))
        assert result.exit_code == 0, f"{command}\n{result.output}"
    assert "doughty_cvpr2019/full" in result.output


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


def test_the_readme_names_every_output_with_its_defaults() -> None:
    from aqakit.extract.request import BACKBONES, plan_features
    from aqakit.features import plugins

    table = README.split("| backbone | layers |")[1].split("\n\n")[0].splitlines()[2:]
    # The first cell is a request, so it says itself which rows are about which output.
    specs = {row: plan_features([row.split("`")[1]], ["random"])[0].spec for row in table}
    for name in plugins.names(BACKBONES):
        info = plugins.load(BACKBONES, name).INFO
        rows = [row for row, spec in specs.items() if spec.backbone == name]
        for output in info.outputs:
            words = [f"`{output.layer}` {'x'.join(map(str, output.shape))}"]
            words += [f"`{word}`" for word in (output.sampling.text, *output.presets)]
            assert any(
                specs[row].stream == output.stream and all(word in row for word in words)
                for row in rows
            ), (name, output)
        for checkpoint in info.checkpoints:
            assert any(f"`{checkpoint.file}`" in row for row in rows)


def test_the_disk_that_maps_take_is_as_stated() -> None:
    from aqakit.extract.request import plan_features

    (feature,) = plan_features(["resnet101:conv5"], ["random"])
    sampling = feature.spec.sampling
    assert feature.spec.precision == "float16"
    map_bytes = 2 * int(np.prod(feature.row_shape))
    assert f"{map_bytes / 1e6:.1f} MB a map" in README
    rows = (sampling.count or 0) * (1 + sampling.candidates)
    assert f"**{map_bytes * rows / 1e6:.0f} MB a video and stream**" in README
