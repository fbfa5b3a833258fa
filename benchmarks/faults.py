"""Faults that a night's fit with `memory=` must survive, and how many it survived.

    python benchmarks/faults.py                    all parts
    python benchmarks/faults.py kills --runs 10    these parts
    python benchmarks/faults.py --scale small      the same, smaller, in two minutes

kills    a fit is killed at a random moment and resumed, each time in an empty folder,
         and then one fit again and again, until it ends
entries  entries of the folder are damaged: a flipped bit at every byte of one, cut at
         many lengths, exchanged, or replaced by other valid files
disk     the disk becomes full at many sizes (needs the right to mount a small one)

A fault is survived if the result has the bits of an undisturbed fit, pairs that were
kept are not solved again, and damaged pairs are. It exits with 1 otherwise.
"""

import argparse
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import joblib
import numpy as np
from interrupted import entries, fit, fit_until_killed
from measure import in_fresh_process
from problems import network, save_network

# Layers and units of source and target, stimuli.
NETWORKS = {
    "full": ((6, 1024), (8, 768), 1200),
    "small": ((3, 256), (4, 192), 400),
}
# How the pairs of a fit that is killed run, in turn.
RUNS_IN = [("threading", 1), ("threading", 2), ("loky", 2)]
# A killed fit that is resumed and killed again and again ends after as many at most.
MOST_KILLS = 40
# Lengths that an entry is cut to; sizes of disks, and the step between them.
N_LENGTHS = {"full": 200, "small": 50}
N_SIZES = 8
KILOBYTES = 8
# Small layers: damage does not depend on the size.
DAMAGED_NETWORKS = ((3, 12), (4, 9), 60)


def main():
    """Run the selected parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help="kills, entries, disk")
    parser.add_argument("--scale", choices=["full", "small"], default="full")
    parser.add_argument("--runs", type=int, default=10, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    arguments = parser.parse_args()
    parts = {"kills": kill, "entries": damage_entries, "disk": fill_disks}
    unknown = set(arguments.parts) - set(parts)
    if unknown:
        parser.error(f"there is no part {sorted(unknown)}; there are {list(parts)}")
    passed = [parts[name](arguments) for name in arguments.parts or parts]
    sys.exit(not all(passed))


def _write(folder, shapes):
    """Write both networks to files, and return the paths."""
    *sides, n_stimuli = shapes
    return [
        save_network(Path(folder), name, network(*shape, n_stimuli, run=run))
        for run, (name, shape) in enumerate(zip("xy", sides, strict=True))
    ]


# -- kills -----------------------------------------------------------------------------


def kill(arguments):
    """Kill fits at random moments, and print what was survived."""
    rng = np.random.default_rng(arguments.seed)
    shapes = NETWORKS[arguments.scale]
    n_pairs = shapes[0][0] * shapes[1][0]
    survived, n_kept_in_all, n_again = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        networks = in_fresh_process(_write, folder, shapes)
        plain = {
            runs_in: in_fresh_process(fit, networks, None, *runs_in)
            for runs_in in RUNS_IN
        }
        expected = plain[RUNS_IN[0]].digest
        for run in range(arguments.runs):
            memory = os.path.join(folder, f"memory{run}")
            runs_in = RUNS_IN[run % len(RUNS_IN)]
            moment = rng.uniform(0, plain[runs_in].seconds)
            while not fit_until_killed(networks, memory, (0, moment), *runs_in):
                # It ended before: earlier, then, and in an empty folder.
                shutil.rmtree(memory)
                moment = rng.uniform(0, moment)
            n_kept = len(entries(memory))
            resumed = in_fresh_process(fit, networks, memory, *runs_in)
            again = resumed.n_solved - (n_pairs - n_kept)
            same = resumed.digest == expected and len(entries(memory)) == n_pairs
            survived += same and again == 0
            n_kept_in_all, n_again = n_kept_in_all + n_kept, n_again + again
            print(
                f"  killed after {moment:.2f} s, n_jobs="
                f"{runs_in[1]}, {runs_in[0]}: {n_kept} of {n_pairs} pairs kept, "
                f"{resumed.n_solved} solved after that; "
                f"{'the same bits' if same else 'OTHER RESULTS'}",
                flush=True,
            )
        print(
            f"kills: {survived} of {arguments.runs} survived; of {n_kept_in_all} pairs "
            f"that were kept, {n_again} solved again",
            flush=True,
        )
        often, n_kills = _kill_until_the_end(networks, folder, rng, plain[RUNS_IN[0]])
        same = often.digest == expected
        print(
            f"  one fit killed {n_kills} times: {'the same bits' if same else 'OTHER'}",
            flush=True,
        )
    return survived == arguments.runs and same


def _kill_until_the_end(networks, folder, rng, plain):
    """Kill one fit again and again; return its outcome and the number of kills."""
    memory, n_kills = os.path.join(folder, "often"), 0
    while n_kills < MOST_KILLS:
        moment = rng.uniform(0, plain.seconds / 4)
        if not fit_until_killed(networks, memory, (0, moment)):
            break
        n_kills += 1
    return in_fresh_process(fit, networks, memory), n_kills


# -- entries ---------------------------------------------------------------------------


def damage_entries(arguments):
    """Damage entries in every way, and print what was found."""
    with tempfile.TemporaryDirectory() as folder:
        found = in_fresh_process(_damage, folder, N_LENGTHS[arguments.scale])
    passed = True
    for way, (n_damaged, n_found, n_same) in found.items():
        passed &= n_damaged == n_found == n_same
        print(
            f"entries, {way}: {n_damaged} damaged, {n_found} solved again with a "
            f"warning, {n_same} with the same bits",
            flush=True,
        )
    total = [sum(counts) for counts in zip(*found.values(), strict=True)]
    print(
        f"entries: {total[0]} damaged, {total[1]} found, {total[2]} mended", flush=True
    )
    return passed


def _damage(folder, n_lengths):
    """Return how many entries were damaged in each way, found, and mended."""
    networks = _write(folder, DAMAGED_NETWORKS)
    memory, other = (os.path.join(folder, name) for name in ("memory", "other"))
    plain = fit(networks, memory)
    fit([networks[1], networks[0]], other)
    whole = {entry: entry.read_bytes() for entry in entries(memory)}
    first, *_ = whole
    n_bytes = len(whole[first])
    foreign = [
        pickle.dumps(value)
        for value in (None, 1.0, {"cost": 0.0}, [1, 2], (b"", b""), np.zeros(3))
    ]
    exchanged = list(whole.values())
    damages = {
        "a bit flipped at each byte": [
            {first: _flipped(whole[first], place, place % 8)}
            for place in range(n_bytes)
        ],
        "cut short": [
            {first: whole[first][:length]}
            for length in np.unique(np.linspace(0, n_bytes - 1, n_lengths, dtype=int))
        ],
        "exchanged": [
            dict(zip(whole, exchanged[shift:] + exchanged[:shift], strict=True))
            for shift in range(1, len(whole))
        ],
        "those of another fit": [
            {first: entry.read_bytes()} for entry in entries(other)
        ],
        "other valid files": [{first: content} for content in foreign],
    }
    return {
        way: _count_mended(networks, memory, plain, whole, cases)
        for way, cases in damages.items()
    }


def _flipped(content, place, bit):
    content = bytearray(content)
    content[place] ^= 1 << bit
    return bytes(content)


def _count_mended(networks, memory, plain, whole, cases):
    """Fit with each case of damage; return the numbers of damaged, found and mended."""
    n_damaged = n_found = n_same = 0
    for case in cases:
        for entry, content in case.items():
            entry.write_bytes(content)
        damaged = sum(_differs(entry, whole[entry]) for entry in case)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            mended = fit(networks, memory)
        told = [str(warning.message) for warning in caught]
        is_told = any(f"({damaged} time(s)" in message for message in told)
        n_damaged += damaged
        n_found += damaged * (mended.n_solved == damaged and is_told)
        n_same += damaged * (mended.digest == plain.digest)
        for entry in case:
            entry.parent.mkdir(exist_ok=True)
            entry.write_bytes(whole[entry])
    return n_damaged, n_found, n_same


def _differs(entry, whole):
    """Whether an entry is read as something else than what it was.

    A few bytes of a pickle, such as its version, do not change what is read.
    """
    try:
        read = joblib.load(entry)
        with tempfile.NamedTemporaryFile() as file:
            file.write(whole)
            file.flush()
            return type(read) is not tuple or read != joblib.load(file.name)
    except Exception:
        return True


# -- disk ------------------------------------------------------------------------------


def fill_disks(arguments):
    """Fit with a folder on disks that become full, and print what was survived."""
    with tempfile.TemporaryDirectory() as folder:
        networks = in_fresh_process(_write, folder, DAMAGED_NETWORKS)
        plain = in_fresh_process(fit, networks, None)
        survived = tried = 0
        disk = os.path.join(folder, "disk")
        os.mkdir(disk)
        for n_kilobytes in np.arange(1, N_SIZES + 1) * KILOBYTES:
            size = f"size={n_kilobytes}k"
            command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", disk]
            mounted = subprocess.run(command, check=False, capture_output=True)
            if mounted.returncode:
                print("disk: no small disk can be mounted here: not tried", flush=True)
                return True
            try:
                outcome, n_warnings, n_left = in_fresh_process(
                    _fit_and_warnings, networks, os.path.join(disk, "memory")
                )
                n_kept = len(entries(disk))
            finally:
                subprocess.run(["umount", disk], check=True)
            n_pairs = DAMAGED_NETWORKS[0][0] * DAMAGED_NETWORKS[1][0]
            is_full = n_kept < n_pairs
            tried += 1
            survived += outcome.digest == plain.digest and n_warnings == is_full
            print(
                f"  {n_kilobytes} kB: {n_kept} of {n_pairs} pairs kept, {n_warnings} "
                f"warning(s), {n_left} half-written files",
                flush=True,
            )
        shutil.rmtree(disk)
    print(f"disk: {survived} of {tried} sizes survived", flush=True)
    return survived == tried


def _fit_and_warnings(networks, memory):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outcome = fit(networks, memory)
    told = [w for w in caught if "Unable to cache to disk" in str(w.message)]
    n_left = len(list(Path(memory).rglob("output.pkl.*")))
    return outcome, len(told), n_left


if __name__ == "__main__":
    # Functions that other processes run must belong to a module that can be imported.
    from faults import main as run

    run()
