"""UNLV-Dive: 370 dives of men from the 10 m platform (Parmar and Morris, CVPR-W 2017).

A score is the points of three judges times the difficulty. The published split trains on 300 dives
and tests on 70.
"""

from ..dataset import Imported, Source
from ._unlv import Layout, read_unlv

SUMMARY = "UNLV-Dive: folder 'diving' with diving_overall_scores.mat and split_300_70"

_LAYOUT = Layout(
    name="dive",
    task="diving",
    scores="diving_overall_scores.mat",
    split="split_300_70",
    originals="diving_samples_len_ori",
    difficulty="diving_difficulty_level.mat",
)


def read(source: Source) -> Imported:
    """Videos ``dive-001`` to ``dive-370`` with scores and difficulties.

    Raises:
        ManifestError: one line that names the file, what is wrong and the cure.
    """
    return read_unlv(source, _LAYOUT)
