"""Thread-safe LRU cache of prepared layers, bounded by `working_memory`."""

import threading
import time
from collections import OrderedDict
from concurrent.futures import Future

from sklearn import get_config

# A worker does not know when a fit has ended, so it empties its cache after this time
# without use.
_SECONDS_IDLE = 30.0


class LayerCache:
    """Thread-safe LRU cache of prepared layers.

    An entry that several threads request at the same time is computed only once. When
    the cache is full, the least recently used entries are removed.

    Parameters
    ----------
    limit : int, default=None
        Maximum size in bytes. None uses scikit-learn's current `working_memory`.
    """

    def __init__(self, limit=None):
        self._limit = limit
        self._lock = threading.Lock()
        self._empty()

    @property
    def limit(self):
        if self._limit is not None:
            return self._limit
        return get_config()["working_memory"] * 2**20

    def get(self, key, make):
        """Return the entry of a key, computed by `make` if it is not in the cache.

        Parameters
        ----------
        key : hashable
            Key of the entry.
        make : callable
            Function without arguments that computes the entry.

        Returns
        -------
        entry : object
            The entry. It must not be modified.
        """
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                new = self._entries[key] = Future()
            else:
                self._entries.move_to_end(key)
        if found is None:
            found = new
            try:
                new.set_result(make())
            except BaseException as error:
                new.set_exception(error)
                self._remove(key, new)
                raise
        self._update_size(key, found)
        return found.result()

    def _update_size(self, key, future):
        """Update the size of an entry, and remove others if the cache is full."""
        # At every access, because an entry may have grown since the last one.
        size, limit = size_of(future.result()), self.limit
        with self._lock:
            if self._entries.get(key) is not future or self._sizes.get(key) == size:
                return
            self._total += size - self._sizes.get(key, 0)
            self._sizes[key] = size
            # Entries that are still being computed have no size and are not removed.
            removable = [k for k in self._entries if k in self._sizes and k != key]
            for old in removable:
                if self._total <= limit:
                    break
                del self._entries[old]
                self._total -= self._sizes.pop(old)

    def _remove(self, key, future):
        with self._lock:
            if self._entries.get(key) is future:
                del self._entries[key]

    def close(self):
        """Remove all entries."""
        with self._lock:
            self._empty()

    def _empty(self):
        self._entries, self._sizes, self._total = OrderedDict(), {}, 0


class _WorkerCache(LayerCache):
    """Cache of a worker process, which is emptied when it is not used for a while."""

    def __init__(self):
        super().__init__()
        self._timer = None

    def get(self, key, make):
        entry = super().get(key, make)
        with self._lock:
            self._last_used = time.monotonic()
            if self._timer is None:
                self._start_timer(_SECONDS_IDLE)
        return entry

    def _start_timer(self, seconds):
        self._timer = threading.Timer(seconds, self._empty_if_idle)
        self._timer.daemon = True
        self._timer.start()

    def _empty_if_idle(self):
        with self._lock:
            remaining = self._last_used + _SECONDS_IDLE - time.monotonic()
            if remaining > 0:
                self._start_timer(remaining)
            else:
                self._timer = None
                self._empty()


_worker_cache = None
_worker_lock = threading.Lock()


def worker_cache():
    """Return the cache of this process, for handles that another process sent."""
    global _worker_cache
    with _worker_lock:
        if _worker_cache is None:
            _worker_cache = _WorkerCache()
        return _worker_cache


def size_of(entry):
    """Return the size in bytes of the arrays of any library in an object."""
    if hasattr(entry, "nbytes"):
        return entry.nbytes
    return sum(size_of(part) for part in getattr(entry, "__dict__", {}).values())


def in_tiles(source_bytes, target_bytes, limit, n_at_once):
    """Order pairs of layers so that a bounded cache computes few layers twice.

    The smaller side is divided into tiles that fit into the cache. While a tile stays
    in the cache, all layers of the larger side are paired with it, one after the other.

    Parameters
    ----------
    source_bytes, target_bytes : list of int
        Size of each prepared layer in bytes.
    limit : int
        Size of the cache in bytes.
    n_at_once : int
        Number of pairs that are solved at the same time.

    Returns
    -------
    pairs : list of tuple of int
        Index of the source layer and of the target layer, each pair once.
    """
    is_source_smaller = sum(source_bytes) < sum(target_bytes)
    smaller, larger = source_bytes, target_bytes
    if not is_source_smaller:
        smaller, larger = larger, smaller
    # The cache also holds the layers of the larger side in use and one used before.
    available = limit - (n_at_once + 1) * max(larger)
    pairs = [
        (outer, inner)
        for tile in _split_into_tiles(smaller, available)
        for outer in range(len(larger))
        for inner in tile
    ]
    return [pair[::-1] for pair in pairs] if is_source_smaller else pairs


def _split_into_tiles(sizes, available):
    """Group consecutive layers so that each group fits or is a single layer."""
    tiles, remaining = [], 0
    for index, size in enumerate(sizes):
        if not tiles or size > remaining:
            tiles.append([])
            remaining = available
        tiles[-1].append(index)
        remaining -= size
    return tiles
