"""UNLV-Vault: 176 gymnastic vaults (Parmar and Morris, CVPR-W 2017).

A score is the sum of execution and difficulty, 0 to 20. The published split trains on 120 vaults
and tests on 56.
"""

from ..dataset import Imported, Source
from ._unlv import Layout, read_unlv

SUMMARY = "UNLV-Vault: folder 'gymnastic_vault' with gym_vault_overall_scores.mat and split_4"

_LAYOUT = Layout(
    name="vault",
    task="gym-vault",
    scores="gym_vault_overall_scores.mat",
    split="split_4",
    originals="gym_vault_samples_len_ori",
    highest=20.0,
)


def read(source: Source) -> Imported:
    """Videos ``vault-001`` to ``vault-176`` with scores.

    Raises:
        ManifestError: one line that names the file, what is wrong and the cure.
    """
    return read_unlv(source, _LAYOUT)
