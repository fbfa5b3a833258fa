"""Fits in processes of their own, which can be killed, and what these leave behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from skmot import SoftMatching

# Variables of the environment that reach all workers of a fit.
_LOG, _SECONDS, _DIES = "PAIRS_LOG", "PAIRS_SECONDS", "PAIRS_DIES"
# Processes of a shell's background jobs ignore interrupts, and hand that on.
_LISTEN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
# Longest wait for another process, on a machine with other work to do.
_PATIENCE = 60.0


class LoggedMatching(SoftMatching):
    """A matching that writes down each pair that it begins to solve.

    The environment says where, how long each pair takes at least, and in which file
    the first worker to reach its third pair marks that it has killed itself.
    """

    def _solve(self, source, target):
        log = os.environ.get(_LOG)
        if log is not None:
            with open(log, "a") as lines:
                lines.write(f"{os.getpid()}\n")
            time.sleep(float(os.environ.get(_SECONDS, 0)))
            _die_once(log)
        return super()._solve(source, target)


def _die_once(log):
    mark = os.environ.get(_DIES)
    if mark is None or os.path.exists(mark) or n_begun(log) < 3:
        return
    Path(mark).touch()
    os.kill(os.getpid(), signal.SIGKILL)


def n_begun(log):
    """Return the number of pairs that were begun."""
    return len(Path(log).read_text().split()) if Path(log).exists() else 0


def entries(folder):
    """Return the files of the pairs that are kept in a folder."""
    return sorted(Path(folder).rglob("output.pkl"))


class OwnProcess:
    """Python code in a process and a session of its own, with its own temporary folder.

    Parameters
    ----------
    code : str
        The code.
    folder : path-like
        Folder for the log and for temporary files.
    seconds : float, default=0.0
        Time that each pair takes at least.
    **environment : str
        Further variables of the environment.
    """

    def __init__(self, code, *arguments, folder, seconds=0.0, **environment):
        folder = Path(folder)
        self.log, self.temporary = folder / "log", folder / "temporary"
        self.temporary.mkdir(exist_ok=True)
        path = os.pathsep.join([*filter(None, sys.path), os.getcwd()])
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LISTEN + code, *map(str, arguments)],
            env={
                **os.environ,
                "PYTHONPATH": path,
                "TMPDIR": str(self.temporary),
                "JOBLIB_TEMP_FOLDER": str(self.temporary),
                _LOG: str(self.log),
                _SECONDS: str(seconds),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def wait_for_pairs(self, count):
        """Wait until a number of pairs were begun."""
        wait_until(
            lambda: n_begun(self.log) >= count or self.process.poll() is not None
        )
        assert self.process.poll() is None, self.process.communicate()[1]

    def result(self):
        """Wait for the end; return what was printed, and the errors."""
        return self.process.communicate(timeout=_PATIENCE)

    def family(self):
        """Return the numbers of all living processes of the session."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(") ")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == self.process.pid and fields[0] != "Z":
                found.append(int(stat.parent.name))
        return found

    def leaves_nothing(self):
        """Wait until no process of the session is left, and no temporary file."""
        wait_until(lambda: not self.family())
        return self.family() == [] and list(self.temporary.iterdir()) == []


def wait_until(condition):
    """Wait until a condition holds; the caller checks it."""
    deadline = time.monotonic() + _PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
