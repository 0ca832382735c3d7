"""What the seven folders of EPIC-Skills hold, and what both of its layouts call a video."""

import re
from dataclasses import dataclass
from pathlib import Path

from ..dataset import VideoFiles

_HEAD_CAMERA = "Headmounted"


@dataclass(frozen=True)
class SubTask:
    """One folder of the annotations.

    Args:
        folder: its name.
        task: of the paper's four.
        action_type: variant of the task; None where there is one only.
        code: pattern of what the annotations call a video, with groups ``subject`` and ``trial``.
        id: with ``{}`` for the code.
        stems: names that its file may have, with ``{}`` for the code.
        folders: one of which the file lies in, where its name does not say the sub-task.
    """

    folder: str
    task: str
    action_type: str | None
    code: str
    id: str
    stems: tuple[str, ...]
    folders: tuple[str, ...] = ("",)

    def match(self, id: str) -> re.Match[str] | None:
        """The id of one of its videos, with a group ``code`` as well; None for any other."""
        prefix, suffix = map(re.escape, self.id.split("{}"))
        return re.fullmatch(f"{prefix}(?P<code>{self.code}){suffix}", id)

    def file(self, code: str, files: VideoFiles) -> Path | None:
        """The file of a video."""
        for folder in self.folders:
            for stem in self.stems:
                path = files.find(stem.format(code), folder, without=_HEAD_CAMERA)
                if path is not None:
                    return path
        return None


_LETTER_AND_DIGIT = r"(?P<subject>[A-Z])(?P<trial>\d)"


def _drawing(name: str) -> SubTask:
    return SubTask(
        folder=f"{name}_Drawing",
        task="drawing",
        action_type=f"{name.lower()}-drawing",
        code=_LETTER_AND_DIGIT,
        id=f"{name}/{{}}-S",
        stems=("{}", "{}-S"),
        folders=(f"{name}Drawing", f"{name}_Drawing", f"{name.lower()}_drawing", name),
    )


def _surgery(name: str) -> SubTask:
    return SubTask(
        folder=name,
        task="surgery",
        action_type=name.lower().replace("_", "-"),
        code=r"(?P<subject>[A-Z])(?P<trial>\d{3})",
        id=f"{name}/{name}_{{}}_capture2",
        stems=(f"{name}_{{}}_capture2",),
    )


_CHOPSTICKS = SubTask(
    folder="Chopstick_Using",
    task="chopstick-using",
    action_type=None,
    code=_LETTER_AND_DIGIT,
    id="{}",
    stems=("{}", "{}-S"),
    folders=("ChopstickUsing", "Chopstick_Using", "chopstick_using"),
)
DOUGH = SubTask(
    folder="Dough_Rolling",
    task="dough-rolling",
    action_type=None,
    code=r"(?P<subject>S\d\d)",
    id="{}_roll_dough",
    stems=("{}_roll_dough",),
)
SUB_TASKS = (
    _CHOPSTICKS,
    DOUGH,
    *map(_drawing, ("Hand", "Sonic")),
    *map(_surgery, ("Knot_Tying", "Needle_Passing", "Suturing")),
)
TASKS = tuple(dict.fromkeys(sub_task.task for sub_task in SUB_TASKS))
