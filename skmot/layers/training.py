"""Training stimuli of a fit: whether rows that are scored show one of them."""

import warnings
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b

import numpy as np

from skmot._utils.array_api import to_numpy
from skmot._utils.warnings import stacklevel_of_caller
from skmot.exceptions import LeakWarning
from skmot.layers.labels import list_labels

# Responses of the first training row that are kept, and how close the same row is.
_N_RESPONSES, _SAME_ROW = 64, 1e-3
_MASK = 2**64 - 1
# Stimuli that are named in the warning.
_N_NAMED = 3


@dataclass(frozen=True)
class TrainingStimuli:
    """Digests of the stimuli of a fit, from which the labels cannot be read.

    Attributes
    ----------
    digests : bytes
        Eight bytes per training row, in order.
    responses : tuple of float
        First responses to the first training row.
    """

    digests: bytes
    responses: tuple

    @classmethod
    def of(cls, source, target):
        """Return the training stimuli of two stacks, or None without usable labels."""
        digests = _digest(_labels_of(source, target))
        if digests is None:
            return None
        return cls(digests.tobytes(), _first_responses(source))

    def check(self, source, target):
        """Warn if scored rows show training stimuli, unless all are training rows.

        Parameters
        ----------
        source, target : LayerStack
            The rows that are scored.
        """
        labels = _labels_of(source, target)
        scored = _digest(labels)
        if scored is None:
            return
        trained = np.frombuffer(self.digests, dtype=np.uint64)
        seen = np.isin(scored, trained)
        if not seen.any():
            return
        if seen.all() and self._are_training_rows(source, scored, trained):
            return
        names = list_labels(labels[seen])
        distinct = list(dict.fromkeys(names))
        named = ", ".join(repr(name) for name in distinct[:_N_NAMED])
        more = ", ..." if len(distinct) > _N_NAMED else ""
        warnings.warn(
            f"{len(names)} of the {len(scored)} rows scored show stimuli that were "
            f"trained on ({named}{more}), so this is not a score of held-out stimuli. "
            "Keep the repeats of a stimulus together: make one row of them with "
            "`LayerStack.from_trials`, or split with `StimulusKFold` (and `groups=`).",
            LeakWarning,
            stacklevel=stacklevel_of_caller(),
        )

    def _are_training_rows(self, source, scored, trained):
        """Whether rows of training stimuli may be the training rows themselves."""
        found, counts = np.unique(scored, return_counts=True)
        known, limits = np.unique(trained, return_counts=True)
        if (counts > limits[np.searchsorted(known, found)]).any():
            return False
        # Labels do not tell them from another recording of the same stimuli.
        rows = np.flatnonzero(scored == trained[0])
        if len(rows) == 0:
            return True
        return any(
            np.allclose(
                _first_responses(source[[row]]), self.responses, rtol=_SAME_ROW, atol=0
            )
            for row in rows
        )


def _labels_of(source, target):
    return source.stimuli if source.stimuli is not None else target.stimuli


def _first_responses(stack):
    layer = next(iter(stack[:1].leaves())).layer
    return tuple(to_numpy(layer)[0, :_N_RESPONSES].astype(np.float64).tolist())


def _digest(labels):
    """Return one integer per label, equal for equal labels in every process.

    Returns
    -------
    digests : ndarray of uint64 of shape (n_stimuli,) or None
        None without labels, or with labels of other types than numbers, strings, bytes,
        dates and tuples of them.
    """
    if labels is None:
        return None
    if labels.dtype.kind in "mM":
        labels = labels.astype(f"{labels.dtype.kind}8[ns]").astype(np.int64)
    digests = [_digest_of(label) for label in list_labels(labels)]
    return None if None in digests else np.array(digests, dtype=np.uint64)


def _digest_of(label):
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, float) and label.is_integer():
        # Equal numbers are equal labels.
        label = int(label)
    if isinstance(label, int):
        return label & _MASK
    if isinstance(label, float):
        return hash(label) & _MASK
    if isinstance(label, date):
        # Timestamps of pandas too; equal ones are written alike.
        label = label.isoformat()
    if isinstance(label, tuple):
        parts = [_digest_of(part) for part in label]
        label = None if None in parts else repr(parts).encode()
    if isinstance(label, str):
        # Surrogates of undecodable file names.
        label = label.encode("utf-8", "surrogatepass")
    if isinstance(label, bytes):
        return int.from_bytes(blake2b(label, digest_size=8).digest(), "little")
    return None
