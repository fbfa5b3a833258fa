"""Measurements of time and memory in fresh processes, with alternating repeats."""

import os
import pickle
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Shorter than the measured blocks, and longer than reading /proc takes.
_SECONDS_BETWEEN_READINGS = 0.02


def in_fresh_process(function, *arguments, blas_threads=1):
    """Run a function in a new process.

    Parameters
    ----------
    function : callable
        Function of a module, whose arguments and result can be pickled.
    *arguments : object
        Arguments of the function.
    blas_threads : int or None, default=1
        Number of linear algebra threads in the process and its workers. None keeps the
        default settings.

    Returns
    -------
    result : object
        Result of the function.

    Raises
    ------
    subprocess.CalledProcessError
        If the function raised an error or was killed. Its traceback is printed to the
        standard error.
    """
    settings = (
        {} if blas_threads is None else dict.fromkeys(_THREAD_SETTINGS, blas_threads)
    )
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _THREAD_SETTINGS
    } | {name: str(value) for name, value in settings.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result"
        # `multiprocessing` would wait for the workers of a fit, which keep running.
        subprocess.run(
            [sys.executable, __file__, path],
            input=pickle.dumps((function, arguments)),
            env=environment,
            check=True,
        )
        return pickle.loads(path.read_bytes())


def shortest(functions, repeats):
    """Time functions alternately several times, and return the best time of each."""
    times = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def interleaved(sides, repeats, blas_threads=1):
    """Run functions alternately in fresh processes, and return the fastest runs.

    Parameters
    ----------
    sides : list of tuple
        Functions that return a `Measured`, each with its arguments.
    repeats : int
        Number of runs of each function.
    blas_threads : int or None, default=1
        Number of linear algebra threads, see `in_fresh_process`.

    Returns
    -------
    fastest : list of Measured
        Fastest run of each function, with the largest peak memory of all its runs.
    """
    runs = [[] for _ in sides]
    for _ in range(repeats):
        for side, measured in zip(sides, runs, strict=True):
            measured.append(in_fresh_process(*side, blas_threads=blas_threads))
    fastest = [min(measured, key=lambda run: run.seconds) for measured in runs]
    for best, measured in zip(fastest, runs, strict=True):
        best.peak_bytes = max(run.peak_bytes for run in measured)
    return fastest


@dataclass
class Measured:
    """Time and memory of a block, and its result.

    Attributes
    ----------
    seconds : float
        Wall time.
    cpu_seconds : float
        CPU time of this process, without child processes.
    peak_bytes : int
        Peak memory minus the resident memory before the block, with child processes.
    most_running : int
        Largest number of threads that ran at the same time, with child processes.
    value : object
        Result to report.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    most_running: int = 0
    value: object = None


class Watch:
    """Measure a block: `with Watch() as measured: ...`.

    Memory includes anonymous and shared pages, but not pages of mapped files, which the
    system removes when it needs memory.
    """

    def __enter__(self):
        self.measured = Measured()
        self._before = resident_bytes()
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._cpu, self._start = time.process_time(), time.perf_counter()
        return self.measured

    def __exit__(self, *exception):
        self.measured.seconds = time.perf_counter() - self._start
        self.measured.cpu_seconds = time.process_time() - self._cpu
        self._stop.set()
        self._reader.join()

    def _read(self):
        while not self._stop.wait(_SECONDS_BETWEEN_READINGS):
            over = resident_bytes() - self._before
            self.measured.peak_bytes = max(self.measured.peak_bytes, over)
            running = running_threads() - 1  # Without this one.
            self.measured.most_running = max(self.measured.most_running, running)


def resident_bytes():
    """Return the anonymous and shared memory of this process and its children."""
    total = 0
    for process in _family():
        try:
            lines = (process / "status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # It ended meanwhile.
        for line in lines:
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += 1024 * int(line.split()[1])
    return total


def running_threads():
    """Return the number of threads of all processes that run or are ready to run."""
    count = 0
    for process in _family():
        try:
            for thread in (process / "task").iterdir():
                # After the name, which is in brackets and may hold anything.
                state = (thread / "stat").read_text().rpartition(") ")[2][0]
                count += state == "R"
        except (FileNotFoundError, ProcessLookupError):
            continue
    return count


def _family():
    """Return the directories in /proc of this process and its descendants."""
    found, waiting = [], [Path(f"/proc/{os.getpid()}")]
    while waiting:
        process = waiting.pop()
        found.append(process)
        try:
            for thread in (process / "task").iterdir():
                children = (thread / "children").read_text().split()
                waiting += [Path(f"/proc/{child}") for child in children]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def highest_resident_bytes():
    """Return the peak resident memory of this process (Linux reports kilobytes)."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def resident_bytes_with_files():
    """Return the current resident memory of this process, with mapped files."""
    return resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[1])


def machine():
    """Return the machine and the versions that the results depend on."""
    import joblib
    import numpy
    import ot
    import scipy
    import sklearn

    import skmot

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{
            module.__name__: module.__version__
            for module in (numpy, scipy, ot, sklearn, joblib, skmot)
        },
    }


def _processor():
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    function, arguments = pickle.load(sys.stdin.buffer)
    Path(sys.argv[1]).write_bytes(pickle.dumps(function(*arguments)))
