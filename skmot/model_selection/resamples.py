"""Scores of reconstructions on resamples of the held-out stimuli."""

from uuid import uuid4

import numpy as np

from skmot._scores import ResampledUnits, resample_weights
from skmot.model_selection.networks import digest
from skmot.multilevel.cache import worker_cache

# Correlations are computed in blocks of about this many entries (0.8 MB), which stay in
# the processor's cache. This was the fastest of 16,000 to 4,000,000 entries.
_BLOCK_ENTRIES = 100_000


class Resamples:
    """Resamples of the held-out stimuli of a split, which all methods are scored on.

    The moments of recorded units are cached, because all methods, directions and pairs
    that score the same units need them. A pickled object does not contain the cache.

    Parameters
    ----------
    counts : ndarray of shape (n_resamples, n_stimuli)
        Number of times that each held-out stimulus occurs in each resample.
    cache : LayerCache
        Cache of the moments of recorded units.
    """

    def __init__(self, counts, cache):
        self._weights = resample_weights(counts)
        self._cache, self._token = cache, uuid4().hex

    def scores(self, reconstruction):
        """Score a reconstruction on all resamples.

        Parameters
        ----------
        reconstruction : Reconstruction
            Recorded and reconstructed responses to the held-out stimuli.

        Returns
        -------
        scores : ndarray of shape (n_resamples,)
            Correlations averaged over the units that vary in the resample, NaN if no
            unit does.
        """
        n_resamples = self._weights.shape[1]
        total, n_defined = np.zeros(n_resamples), np.zeros(n_resamples)
        width = max(1, _BLOCK_ENTRIES // n_resamples)
        for start in range(0, reconstruction.recorded.shape[1], width):
            part = slice(start, start + width)
            units = self._moments(reconstruction.recorded[:, part])
            correlations = units.correlations(
                reconstruction.reconstructed[:, part], self._weights
            )
            total += correlations.sum(axis=0)
            n_defined += np.count_nonzero(units.scales, axis=0)
        return np.divide(
            total, n_defined, out=np.full(n_resamples, np.nan), where=n_defined > 0
        )

    def _moments(self, recorded):
        return self._cache.get(
            (self._token, digest(recorded)),
            lambda: ResampledUnits.of(recorded, self._weights),
        )

    def __getstate__(self):
        return {**self.__dict__, "_cache": None}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._cache = worker_cache()
