"""Training stimuli of a fit: whether rows that are scored show one of them."""

import warnings
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from numbers import Number

import numpy as np

from skmot._utils.array_api import to_numpy
from skmot._utils.state import stored_as_dict
from skmot._utils.warnings import stacklevel_of_caller
from skmot.exceptions import LeakWarning
from skmot.layers.labels import list_labels

# Training rows whose responses are kept, spread over all rows; the responses of each
# that are kept, per layer; and the layers of each side.
_N_ROWS, _N_RESPONSES, _N_LAYERS = 16, 16, 4
# How close the responses of the same row are, relative to the largest of them.
_SAME_ROW = 1e-3
_MASK = 2**64 - 1
# Stimuli that are named in the warning.
_N_NAMED = 3


@stored_as_dict
@dataclass(frozen=True)
class TrainingStimuli:
    """Digests of the stimuli of a fit, from which the labels cannot be read.

    Attributes
    ----------
    digests : bytes
        Eight bytes per training row, in order.
    rows : tuple of int
        Some training rows.
    responses : tuple of bytes
        Some responses of source and target in each of these rows, in float32.
    """

    digests: bytes
    rows: tuple
    responses: tuple

    @classmethod
    def of(cls, source, target):
        """Return the training stimuli of two stacks, or None without usable labels."""
        digests = _digest(_labels_of(source, target))
        if digests is None:
            return None
        n_kept = min(_N_ROWS, len(digests))
        rows = np.unique(np.linspace(0, len(digests) - 1, n_kept).astype(int))
        responses = [row.tobytes() for row in _some_responses(source, target, rows)]
        return cls(digests.tobytes(), tuple(rows.tolist()), tuple(responses))

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
        if seen.all() and self._are_training_rows(source, target, scored, trained):
            return
        names = list_labels(labels[seen])
        distinct = list(dict.fromkeys(names))
        named = ", ".join(repr(name) for name in distinct[:_N_NAMED])
        more = ", ..." if len(distinct) > _N_NAMED else ""
        warnings.warn(
            f"{len(names)} of the {len(scored)} rows scored show stimuli that were "
            f"trained on ({named}{more}), so this is not a score of held-out stimuli. "
            "Score rows that were not given to `fit`. If these are repeats, keep those "
            "of a stimulus together: make one row of them with "
            "`LayerStack.from_trials`, or split with `StimulusKFold` (and `groups=`).",
            LeakWarning,
            stacklevel=stacklevel_of_caller(),
        )

    def count_trained(self, source, target):
        """Return how many rows show training stimuli, 0 without usable labels."""
        scored = _digest(_labels_of(source, target))
        if scored is None:
            return 0
        return int(np.isin(scored, np.frombuffer(self.digests, dtype=np.uint64)).sum())

    def _are_training_rows(self, source, target, scored, trained):
        """Whether rows of training stimuli may be the training rows themselves."""
        found, counts = np.unique(scored, return_counts=True)
        known, limits = np.unique(trained, return_counts=True)
        if (counts > limits[np.searchsorted(known, found)]).any():
            return False
        # Labels do not tell them from another recording of the same stimuli.
        for row, kept in zip(self.rows, self.responses, strict=True):
            candidates = np.flatnonzero(scored == trained[row])
            if len(candidates) == 0:
                continue
            kept = np.frombuffer(kept, dtype=np.float32)
            given = _some_responses(source, target, candidates)
            if not (np.abs(given - kept) <= _SAME_ROW).all(axis=1).any():
                return False
        return True


def _labels_of(source, target):
    return source.stimuli if source.stimuli is not None else target.stimuli


def _some_responses(source, target, rows):
    """Return some responses of both sides in some rows, one row each.

    Those of one layer are divided by the largest of them, so that every layer counts.
    """
    parts = []
    for stack in (source[rows], target[rows]):
        for index in _spread(stack.n_layers, _N_LAYERS):
            layer = stack.layers[index]
            while isinstance(layer, type(stack)):
                layer = layer.layers[0]
            units = _spread(layer.shape[1], _N_RESPONSES)
            responses = to_numpy(layer)[:, units].astype(np.float64)
            largest = np.abs(responses).max(axis=1, keepdims=True, initial=0)
            parts.append(responses / np.where(largest > 0, largest, 1))
    return np.concatenate(parts, axis=1).astype(np.float32)


def _spread(n, n_chosen):
    """Return at most `n_chosen` of the numbers 0, ..., n - 1, spread evenly."""
    return np.unique(np.linspace(0, n - 1, min(n, n_chosen)).astype(int))


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
    digests = [_digest_of(label) for label in list_labels(labels)]
    return None if None in digests else np.array(digests, dtype=np.uint64)


def _digest_of(label):
    if isinstance(label, date | timedelta | np.datetime64 | np.timedelta64):
        return _nanoseconds(label) & _MASK
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, Number):
        # Equal numbers of any type have equal hashes, in every process.
        return hash(label) & _MASK
    if isinstance(label, tuple):
        parts = [_digest_of(part) for part in label]
        label = None if None in parts else repr(parts)
        kind = b"tuple"
    elif isinstance(label, str | bytes):
        # Equal bytes and strings are different labels.
        kind = type(label).__name__.encode()
    else:
        return None
    if isinstance(label, str):
        # Surrogates of undecodable file names.
        label = label.encode("utf-8", "surrogatepass")
    if label is None:
        return None
    return int.from_bytes(blake2b(kind + label, digest_size=8).digest(), "little")


def _nanoseconds(label):
    """Return a date as nanoseconds since 1970 (UTC), or a duration in nanoseconds."""
    if isinstance(label, datetime) and label.tzinfo is not None:
        label = label.astimezone(UTC).replace(tzinfo=None)
    if hasattr(label, "to_numpy"):
        # Timestamps and Timedeltas of pandas have nanoseconds.
        label = label.to_numpy()
    is_duration = isinstance(label, timedelta | np.timedelta64)
    array = np.asarray(label, dtype="timedelta64" if is_duration else "datetime64")
    return int(array.astype(f"{array.dtype.kind}8[ns]").astype(np.int64))
