"""Low frequencies of pose or kinematics over a video (Pirsiavash et al., ECCV 2014).

"Assessing the Quality of Actions" describes how each coordinate of a pose moves by the lowest
coefficients of its cosine or Fourier transform, high ones being mostly noise of the pose. Its poses
are relative to the head; here they are as they were stored.

Coefficient k says how much of k half cycles (cosine) or k whole cycles (Fourier) a video there is,
however long the video: videos of any number of steps are compared in the time of the action, as if
all had been resampled to one length. Steps are taken to be evenly spaced.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Transform = Literal["dct", "dft"]


@dataclass(frozen=True)
class Frequencies:
    """The lowest coefficients of each channel; see :class:`.pooling.Pooling`.

    With T steps, ``dct`` is the orthonormal transform of type II divided by sqrt(T), and ``dft`` the
    magnitudes of Fourier coefficients divided by T, so that neither grows with T. Coefficient 0 is
    the mean, of which ``dft`` loses the sign. Coefficients that T steps do not have are 0.

    Args:
        transform: ``dct`` or ``dft``.
        coefficients: K lowest ones a channel, the mean among them; D = K C, all channels of the
            first coefficient first.
    """

    transform: Transform
    coefficients: int

    @property
    def per_channel(self) -> int:
        """K."""
        return self.coefficients

    def pool(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """(D,) coefficients of (T, C) steps; those of a channel that rests are 0 but for its mean."""
        return self._numbers(self._transformed(values.astype(np.float64))).ravel()

    def shares(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, D) what each step adds to each coefficient; they sum to :meth:`pool`.

        A cosine coefficient is a sum over steps, of x_t for the mean and else of its deviation from
        it, which adds up to the same. A magnitude |X| is the sum of Re(conj(u) b_t x_t), given its
        phase u, b being the transform.
        """
        basis = self._basis(len(values))
        terms = basis.T[:, :, None] * (values - values.mean(axis=0))[:, None, :]  # (T, K, C)
        terms[:, 0] = values / len(values)
        if self.transform == "dft":
            phase = np.exp(1j * np.angle(self._transformed(values)))
            terms = (terms * phase.conj()).real
        return np.asarray(terms.reshape(len(values), -1))

    def without_each(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, D) coefficients of the video with each step in turn at the mean of all others.

        To leave the step out would move all that follows in time. A video of one step stays as it is.
        """
        if len(values) == 1:
            return self.pool(values)[None]
        basis = self._basis(len(values))
        change = (values.mean(axis=0) - values) * len(values) / (len(values) - 1)  # (T, C)
        moved = self._transformed(values) + basis.T[:, :, None] * change[:, None, :]  # (T, K, C)
        return self._numbers(moved).reshape(len(values), -1)

    def _transformed(self, values: NDArray[np.float64]) -> NDArray[Any]:
        """(K, C), with signs and phases."""
        # What rests must give exactly 0: scaled to deviation 1, rounding would look like a movement.
        found: NDArray[Any] = self._basis(len(values)) @ (values - values[0])
        found[0] += values[0]
        return found

    def _basis(self, steps: int) -> NDArray[Any]:
        """(K, T) the transform as a matrix; rows that T steps do not have are 0."""
        order = np.arange(self.coefficients)[:, None]
        time = np.arange(steps)
        if self.transform == "dft":
            waves = np.exp(-2j * np.pi * order * time / steps)
            return np.where(order <= steps // 2, waves, 0) / steps
        waves = np.cos(np.pi * order * (2 * time + 1) / (2 * steps))
        waves[1:] *= np.sqrt(2)
        return np.where(order < steps, waves, 0) / steps

    def _numbers(self, found: NDArray[Any]) -> NDArray[np.float64]:
        return np.abs(found) if self.transform == "dft" else found
