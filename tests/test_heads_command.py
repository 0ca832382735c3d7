"""Every head through the command line: README's commands, training, and explanations on disk."""

import csv
import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner, Result

from aqakit.cli import main
from aqakit.features import plugins
from aqakit.features.segments import Sampling
from aqakit.features.source import Source
from aqakit.features.spec import FeatureSpec, Stream
from aqakit.features.store import FeatureStore
from aqakit.models.head import HEADS
from aqakit.models.reading import reading_of, readings_of
from aqakit.models.recipe import roles_of

README = (Path(__file__).parents[1] / "README.md").read_text()
VIDEOS, STEPS = 12, 4
SHORT = ("--seeds", "1", "--together", "off")
QUICK = {
    "siamese-lstm": ["scoring_epochs=1", "pairs=20", "hidden=4"],
    "spatial-attention": ["fusion=4", "channels=4"],
}


class Made(NamedTuple):
    backbone: str
    stream: Stream
    layer: str
    row: tuple[int, ...]
    variant: str = "none"
    alternatives: int = 1


FEATURES = (
    Made("flow-hist", "flow", "hist", (6,)),
    Made("kinematics", "track", "primary", (5,)),
    Made("kinematics", "track", "secondary", (3,)),
    Made("i3d", "rgb", "logits", (7,)),
    Made("resnet101", "rgb", "conv5", (8, 5, 5), alternatives=3),
    Made("resnet101", "flow", "conv5", (6, 5, 5), alternatives=3),
    Made("c3d", "rgb", "fc6", (9,)),
    Made("c3d", "rgb", "fc6", (9,), "brightness-130"),
    Made("c3d", "rgb", "fc6", (9,), "zoom-125"),
)


def spec(made: Made) -> FeatureSpec:
    candidates = made.alternatives - 1
    sampling = Sampling("segments", 1, STEPS, candidates=candidates)
    return FeatureSpec(
        made.backbone, made.stream, made.layer, sampling, "made", variant=made.variant
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    store = FeatureStore.create(folder / "store")
    rng = np.random.default_rng(0)
    for number in range(VIDEOS):
        source = Source(f"v{number}.mp4", 1, 1, f"{number:064}")
        for made in FEATURES:
            rows = STEPS * made.alternatives
            values = rng.normal(number / 4, 1, (rows, *made.row)).astype(np.float32)
            edges = np.linspace(0, 8, rows + 1)
            times = np.stack([edges[:-1], (edges[:-1] + edges[1:]) / 2, edges[1:]], axis=1)
            with store.begin(spec(made), f"v{number}", source, values.shape, 1) as part:
                part.append(values)
                part.finish(times, times[:, :1], {})
    with (folder / "manifest.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["id", "score", "action_type", "score_execution", "score_synchronisation", "split"]
        )
        for number in range(VIDEOS):
            part_name = ("train", "train", "test", "val")[number % 4]
            row = [f"v{number}", number, "tuck", number / 2, number / 3, part_name]
            writer.writerow(row)
    pairs = [f"v{a},v{b}\n" for a in range(VIDEOS) for b in range(a)]
    (folder / "pairs.csv").write_text("better,worse\n" + "".join(pairs))
    return folder


def aqakit(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def readme_commands() -> list[str]:
    section = README.split("## Heads")[1].split("\n## ")[0].replace("\\\n", " ")
    return re.findall(r"^    (aqakit .*)$", section, flags=re.MULTILINE)


@pytest.mark.parametrize("command", readme_commands())
def test_the_commands_of_the_readme_work(
    command: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("store", "manifest.csv", "pairs.csv"):
        (tmp_path / name).symlink_to(folder / name)
    monkeypatch.chdir(tmp_path)
    _, *words = shlex.split(command)
    head = words[words.index("--head") + 1]
    result = aqakit(*words, *quick(head), *SHORT)
    assert result.exit_code == 0, result.output
    assert (tmp_path / words[words.index("--out") + 1] / "metrics.json").exists()


def test_the_readme_has_commands_and_every_head() -> None:
    assert len(readme_commands()) >= 3
    for head in plugins.names(HEADS):
        assert f"`{head}`" in README, head


def quick(head: str) -> list[str]:
    settings = [*QUICK.get(head, [])]
    if head not in ("svr", "ranksvm", "frequency-svr", "frequency-ranksvm"):
        settings.append("epochs=1")
    return [word for setting in settings for word in ("--set", setting)]


def features_of(head: str) -> list[str]:
    known = {
        "primary": "kinematics.track.primary",
        "secondary": "kinematics.track.secondary",
        "scene": "i3d",
    }
    roles = [role.name for role in roles_of(head)]
    if "primary" in roles:
        return [f"--feature={role}={known[role]}" for role in roles]
    if any(role.axes == 3 for role in roles_of(head)):
        return ["--feature=resnet101.rgb.conv5", "--feature=resnet101.flow.conv5"]
    if "features" not in roles:
        return ["--feature=flow=flow-hist"]
    return ["--feature=features=flow-hist"]


@pytest.mark.parametrize("head", plugins.names(HEADS))
def test_every_head_trains_explains_and_has_its_page(
    head: str, folder: Path, tmp_path: Path
) -> None:
    common: list[str | Path] = [folder / "manifest.csv", "--store", folder / "store"]
    run, out = tmp_path / "run", tmp_path / "why"
    words = ["--pairs", str(folder / "pairs.csv"), *features_of(head), *quick(head), *SHORT]
    trained = aqakit("train", *common, "--head", head, "--out", run, *words)
    assert trained.exit_code == 0, trained.output
    explained = aqakit("explain", run, *common, "--out", out, "--video", "v2", "--video", "v3")
    assert explained.exit_code == 0, explained.output
    assert explained.output == f"2 videos explained in {out}\n"

    with (run / "predictions.csv").open() as file:
        predicted = {row["id"]: float(row["seed_0"]) for row in csv.DictReader(file)}
    index = json.loads((out / "explanations.json").read_text())
    assert list(index) == ["v2", "v3"]
    for video, entry in index.items():
        assert entry["score"] == pytest.approx(predicted[video], rel=1e-4, abs=1e-5)
        with (out / entry["steps"]).open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == STEPS
        curves = [name for name in rows[0] if not name.endswith("_seconds")]
        assert curves
        assert all(np.isfinite(float(row[name])) for row in rows for name in curves)
        if "maps" in entry:
            with np.load(out / entry["maps"]) as maps:
                assert all(maps[name].shape[0] == STEPS for name in maps)

    shown = aqakit("report", run, "--out", tmp_path / "report.html")
    assert shown.exit_code == 0, shown.output
    assert f"{VIDEOS} videos, {VIDEOS} explained, 0 to play" in shown.output
    page = (tmp_path / "report.html").read_text()
    for name in curves:
        if name == "faulty":
            assert '"name":"faulty"' in page
        else:
            assert f'"label":"{reading_of(name, readings_of(head)).label}"' in page


def one_line(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert result.output.count("\n") == 1
    return result.output


def test_altered_videos_are_needed_only_where_they_train(folder: Path, tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    rng = np.random.default_rng(0)
    for number in range(VIDEOS):
        source = Source(f"v{number}.mp4", 1, 1, f"{number:064}")
        for made in (FEATURES[6], FEATURES[7]):
            if made.variant != "none" and number % 4 > 1:
                continue  # neither of test nor of validation videos
            values = rng.normal(number / 4, 1, (STEPS, *made.row)).astype(np.float32)
            times = np.zeros((STEPS, 3))
            with store.begin(spec(made), f"v{number}", source, values.shape, 1) as part:
                part.append(values)
                part.finish(times, times[:, :1], {})
    common: list[str | Path] = [folder / "manifest.csv", "--store", tmp_path / "store"]
    words = ["--feature=c3d", "--feature=variant=brightness-130", *quick("siamese-lstm"), *SHORT]
    run = tmp_path / "run"
    trained = aqakit("train", *common, "--head", "siamese-lstm", "--out", run, *words)
    assert trained.exit_code == 0, trained.output
    assert "dropped" not in trained.output
    explained = aqakit("explain", run, *common, "--out", tmp_path / "why")
    assert explained.output.startswith(f"{VIDEOS} videos explained")
    (tmp_path / "manifest.csv").write_text(
        (folder / "manifest.csv").read_text().replace("val", "train")
    )
    common[0] = tmp_path / "manifest.csv"
    lacking = aqakit("train", *common, "--head", "siamese-lstm", "--out", tmp_path / "b", *words)
    assert "brightness-130 features of 3 of 9 training videos, first 'v3'" in one_line(lacking)


def test_a_feature_that_a_variant_ignores_need_not_be_complete(
    folder: Path, tmp_path: Path
) -> None:
    common: list[str | Path] = [folder / "manifest.csv", "--store", folder / "store"]
    words = [*quick("aim"), *SHORT, "--head", "aim", "--feature=scene=i3d"]
    alone: list[str | Path] = ["--set", "variant=scene-only", "--out", tmp_path / "a"]
    assert aqakit("train", *common, *words, *alone).exit_code == 0
    message = one_line(aqakit("train", *common, *words, "--out", tmp_path / "b"))
    assert "aim with these options needs primary (" in message
    assert "secondary (" in message


@pytest.mark.parametrize(
    "option", [["--patience=3"], ["--clip-norm=1"], ["--precision=float64"], ["--start-from=x"]]
)
def test_what_a_head_without_epochs_would_ignore_is_refused(
    option: list[str], folder: Path, tmp_path: Path
) -> None:
    words = ["--head=ranksvm", "--feature=flow-hist", "--out", str(tmp_path / "run"), *option]
    result = aqakit("train", folder / "manifest.csv", "--store", folder / "store", *words)
    assert "ranksvm trains without epochs; leave --patience" in one_line(result)


def test_every_seed_needs_one_to_start_from(folder: Path, tmp_path: Path) -> None:
    common: list[str | Path] = [folder / "manifest.csv", "--store", folder / "store"]
    words = ["--head", "siamese-lstm", "--feature", "c3d", *quick("siamese-lstm")]
    run = tmp_path / "run"
    assert aqakit("train", *common, *words, *SHORT, "--out", run).exit_code == 0
    more: list[str | Path] = ["--out", tmp_path / "more", "--start-from", run]
    assert aqakit("train", *common, *words, *SHORT, *more).exit_code == 0
    more[1] = tmp_path / "again"
    result = aqakit("train", *common, *words, "--seeds", "2", *more)
    missing = run / "seed-1" / "head.safetensors"
    assert f"{missing} is not there; name another run with --start-from" in one_line(result)
    assert not list(tmp_path.glob(".again*"))


def test_maps_come_in_the_size_of_the_frame(folder: Path, tmp_path: Path) -> None:
    common: list[str | Path] = [folder / "manifest.csv", "--store", folder / "store"]
    run = tmp_path / "run"
    words = [*features_of("spatial-attention"), *quick("spatial-attention"), *SHORT]
    trained = aqakit("train", *common, "--head", "spatial-attention", *words, "--out", run)
    assert trained.exit_code == 0, trained.output
    found = []
    for number, size in enumerate(([], ["--size", "30x20"])):
        out = tmp_path / str(number)
        assert aqakit("explain", run, *common, "--out", out, "--video", "v2", *size).exit_code == 0
        (path,) = out.glob("*.npz")
        with np.load(path) as maps:
            found.append(maps["attention"])
    assert found[0].shape == (STEPS, 5, 5)
    assert found[1].shape == (STEPS, 20, 30)
    for maps in found:
        np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, rtol=1e-4)
    for text, code, message in (
        ("3x3", 1, "Error: --size: size is (3, 3); it must be at least that of the maps"),
        ("30", 2, "'30' is no size; write WIDTHxHEIGHT"),
    ):
        refused = aqakit("explain", run, *common, "--out", tmp_path / "a", "--size", text)
        assert refused.exit_code == code
        assert message in refused.output
        assert not (tmp_path / "a").exists()


def test_explaining_says_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    common: list[str | Path] = [folder / "manifest.csv", "--store", folder / "store"]
    run = tmp_path / "run"
    words = ["--head", "ranksvm", "--feature", "flow-hist", *SHORT]
    assert aqakit("train", *common, *words, "--out", run).exit_code == 0
    cases: dict[str, list[str | Path]] = {
        "is no run; name a folder": [folder, *common, "--out", tmp_path / "a"],
        f"holds several runs; name one of them, for example {run}": [
            *(tmp_path, *common, "--out", tmp_path / "a")
        ],
        "no video 'v99' in": [run, *common, "--out", tmp_path / "a", "--video", "v99"],
        "has no seed 7; choose one of: 0": [run, *common, "--out", tmp_path / "a", "--seed", "7"],
        "is there already": [run, *common, "--out", run],
    }
    for message, arguments in cases.items():
        result = aqakit("explain", *arguments)
        assert result.exit_code == 1
        assert message in result.output
        assert result.output.count("\n") == 1
    assert not (tmp_path / "a").exists()
    assert aqakit("explain", run, *common, "--out", tmp_path / "b").exit_code == 0
    again = aqakit("explain", run, *common, "--out", tmp_path / "b", "--overwrite", "--video", "v1")
    assert again.exit_code == 0
    assert list(json.loads((tmp_path / "b" / "explanations.json").read_text())) == ["v1"]
    refused = aqakit("explain", run, *common, "--out", run, "--overwrite")
    assert refused.exit_code == 1
    assert (run / "recipe.json").exists()
