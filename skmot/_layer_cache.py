"""What is made of layers, kept while there is room and made once whoever asks."""

import threading
import time
from collections import OrderedDict
from concurrent.futures import Future

from sklearn import get_config

# A worker is not told that a fit has ended: what it keeps is dropped after a while.
_SECONDS_IDLE = 30.0


class LayerCache:
    """Keeps what was used last, up to scikit-learn's `working_memory`; thread-safe.

    Parameters
    ----------
    limit : int, default=None
        Bytes; None asks scikit-learn's configuration, each time.
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
        """Return what is kept under a key, made by the first that asks for it."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                mine = self._kept[key] = Future()
            else:
                self._kept.move_to_end(key)
        if kept is None:
            kept = mine
            try:
                mine.set_result(make())
            except BaseException as error:
                mine.set_exception(error)
                self._drop(key, mine)
                raise
        self._weigh(key, kept)
        return kept.result()

    def _weigh(self, key, future):
        """Count what was made, and make room for it."""
        # Each time it is asked for: what is made may be added to.
        size, limit = size_of(future.result()), self.limit
        with self._lock:
            if self._kept.get(key) is not future or self._sizes.get(key) == size:
                return
            self._total += size - self._sizes.get(key, 0)
            self._sizes[key] = size
            # What is being made has no size yet, and stays.
            for old in [old for old in self._kept if old in self._sizes and old != key]:
                if self._total <= limit:
                    break
                del self._kept[old]
                self._total -= self._sizes.pop(old)

    def _drop(self, key, future):
        with self._lock:
            if self._kept.get(key) is future:
                del self._kept[key]

    def close(self):
        """Forget everything."""
        with self._lock:
            self._empty()

    def _empty(self):
        self._kept, self._sizes, self._total = OrderedDict(), {}, 0


class _WorkerCache(LayerCache):
    """The cache of a worker process, which outlives fits: forgets what lies idle."""

    def __init__(self):
        super().__init__()
        self._timer = None

    def get(self, key, make):
        found = super().get(key, make)
        with self._lock:
            self._used = time.monotonic()
            if self._timer is None:
                self._wait(_SECONDS_IDLE)
        return found

    def _wait(self, seconds):
        self._timer = threading.Timer(seconds, self._forget_if_idle)
        self._timer.daemon = True
        self._timer.start()

    def _forget_if_idle(self):
        with self._lock:
            left = self._used + _SECONDS_IDLE - time.monotonic()
            if left > 0:
                self._wait(left)
            else:
                self._timer = None
                self._empty()


_worker_cache = None
_worker_lock = threading.Lock()


def worker_cache():
    """Return the cache of this process, for handles that came from another."""
    global _worker_cache
    with _worker_lock:
        if _worker_cache is None:
            _worker_cache = _WorkerCache()
        return _worker_cache


def size_of(made):
    """Return the bytes of the arrays in an object, of whatever library."""
    if hasattr(made, "nbytes"):
        return made.nbytes
    return sum(size_of(part) for part in getattr(made, "__dict__", {}).values())


def in_tiles(source_bytes, target_bytes, limit, n_at_once):
    """Order pairs such that each layer is made as seldom as there is room for.

    The smaller side stays, tile by tile, while the larger streams past.

    Parameters
    ----------
    source_bytes, target_bytes : list of int
        What is made of each layer takes.
    limit : int
        Bytes that are kept.
    n_at_once : int
        Pairs that are worked on at the same time.

    Returns
    -------
    pairs : list of tuple of int
        Numbers of a source and of a target layer, every pair once.
    """
    turned = sum(source_bytes) < sum(target_bytes)
    staying, passing = source_bytes, target_bytes
    if not turned:
        staying, passing = passing, staying
    # Beside what stays: what is worked on, and what is left of what was before it.
    room = limit - (n_at_once + 1) * max(passing)
    pairs = [
        (passed, stayed)
        for tile in _tiles(staying, room)
        for passed in range(len(passing))
        for stayed in tile
    ]
    return [pair[::-1] for pair in pairs] if turned else pairs


def _tiles(sizes, room):
    """Group consecutive numbers such that each group fits, or is one number."""
    tiles, left = [], 0
    for number, size in enumerate(sizes):
        if not tiles or size > left:
            tiles.append([])
            left = room
        tiles[-1].append(number)
        left -= size
    return tiles
