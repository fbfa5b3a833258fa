"""Plant faults in the package, one at a time, and see whether the tests notice.

`faulty.py` says which faults. Each is tried against the tests that run its line, or use
the name that its line defines, the mirrored test files first.

    python benchmarks/mutants.py --out FILE --workers N --seconds S

Needs coverage, cosmic-ray and array-api-strict. Results are appended as they come: a
later run with the same file skips what was killed, tries the survivors again, and goes
on with the others.
"""

import argparse
import ast
import collections
import contextlib
import difflib
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zlib
from pathlib import Path

from faulty import faults, mutated

AREAS = {
    "transport": "skmot/transport/",
    "metrics": "skmot/metrics/",
    "coupling": "skmot/multilevel/coupling.py",
    "model_selection": "skmot/model_selection/",
    "scaling": "skmot/scaling/",
    "rest": "skmot/",
}
# Faults that are tried first in each area.
_FIRST = 60
# Seconds of tests for one fault, as measured with coverage.
_LONGEST = 25
# Share of the time that may go into running all tests without a fault.
_MOST_OF_TIMING = 0.7
# Bytes of a test file that one process runs, when tests are timed.
_LARGE_FILE = 15_000
# A test is stopped after this many times its time, and these seconds.
_SLOWER, _GRACE = 6, 8
# Imported before processes are forked, since these imports take longer than most tests.
_PRELOADED = [
    "array_api_strict",
    "coverage",
    "joblib",
    "numpy",
    "ot",
    "pandas",
    "pytest",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.decomposition",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sklearn.pipeline",
    "sklearn.utils.estimator_checks",
]


# --- Processes ----------------------------------------------------------------------


def each(tasks, work, workers, until, done):
    """Run tasks in forked processes, at most so many at a time, each in its own slot.

    A task is `(name, function, seconds)`. `done` is called with what `function(slot)`
    returns, or with "timeout" or "crash".
    """
    tasks = iter(tasks)
    running, free = {}, list(range(workers))
    more = True
    while more or running:
        while more and free and time.time() < until:
            task = next(tasks, None)
            if task is None:
                more = False
                break
            name, function, seconds = task
            slot = free.pop()
            answer = work / f"answer{slot}.json"
            answer.unlink(missing_ok=True)
            child = os.fork()
            if not child:
                _child(function, slot, answer, work / f"log{slot}.txt")
            running[child] = (name, slot, answer, time.time() + seconds, time.time())
        if time.time() >= until:
            more = False
        for child in list(running):
            name, slot, answer, limit, start = running[child]
            ended, status = os.waitpid(child, os.WNOHANG)
            late = time.time() > limit
            stopped = time.time() > until + 15
            if not ended and not late and not stopped:
                continue
            _end_group(child)
            if not ended:
                os.waitpid(child, 0)
            del running[child]
            free.append(slot)
            if not ended and stopped and not late:
                result = None
            elif answer.exists():
                result = json.loads(answer.read_text())
            elif not ended or os.WTERMSIG(status) == signal.SIGALRM:
                result = "timeout"
            else:
                result = "crash"
            done(name, slot, result, time.time() - start)
        time.sleep(0.01)


def _child(function, slot, answer, log):
    status = 1
    try:
        os.setsid()
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = io.TextIOWrapper(
            io.FileIO(1, "w", closefd=False), write_through=True
        )
        sys.stderr = io.TextIOWrapper(
            io.FileIO(2, "w", closefd=False), write_through=True
        )
        result = function(slot)
        part = answer.with_suffix(".part")
        part.write_text(json.dumps(result))
        part.rename(answer)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _end_group(child):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)


# --- Tests --------------------------------------------------------------------------


class Plugin:
    """Times tests; tells coverage which one runs; keeps, orders and stops them."""

    def __init__(self, measured=None, part=(0, 1), chosen=None, limits=None):
        self.part, self.measured, self.chosen, self.limits = (
            part,
            measured,
            chosen,
            limits,
        )
        self.tests, self.first, self.broken = {}, None, []

    def pytest_collection_modifyitems(self, items):
        part, parts = self.part
        items[:] = items[len(items) * part // parts : len(items) * (part + 1) // parts]
        if self.chosen is not None:
            rank = {test: place for place, test in enumerate(self.chosen)}
            items[:] = sorted(
                (item for item in items if item.nodeid in rank),
                key=lambda item: rank[item.nodeid],
            )

    def pytest_collectreport(self, report):
        if report.failed:
            self.broken.append(report.nodeid)

    def pytest_runtest_logstart(self, nodeid, location):
        if self.measured is not None:
            self.measured.switch_context(nodeid)
        if self.limits is not None:
            signal.setitimer(signal.ITIMER_REAL, self.limits.get(nodeid, 60))

    def pytest_runtest_logfinish(self, nodeid, location):
        if self.measured is not None:
            self.measured.switch_context("")
        signal.setitimer(signal.ITIMER_REAL, 0)

    def pytest_runtest_logreport(self, report):
        test = self.tests.setdefault(report.nodeid, [0.0, "passed"])
        test[0] += report.duration
        if report.outcome != "passed":
            test[1] = report.outcome
        if report.failed and self.first is None:
            self.first = report.nodeid
            self.why = str(report.longrepr)[-300:]


def _enter(tree):
    os.chdir(tree)
    sys.path[:0] = [str(tree)]
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(tree), *([before] if before else [])]
    )
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _pytest(plugin, files, slot, *options):
    import pytest

    scratch = Path.cwd().parent / f"scratch{slot}_{os.getpid()}"
    try:
        return pytest.main(
            [
                "-q",
                "-p",
                "no:cacheprovider",
                "--basetemp",
                str(scratch),
                *options,
                *files,
            ],
            plugins=[plugin],
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def baseline_of(tree, work, file, part, parts):
    """Time tests of a file, and see which run which lines."""

    def task(slot):
        import coverage

        _enter(tree)
        measured = coverage.Coverage(
            data_file=None, branch=True, source=[str(tree / "skmot")], config_file=False
        )
        plugin = Plugin(measured=measured, part=(part, parts))
        measured.start()
        _pytest(plugin, [file], slot, "--continue-on-collection-errors")
        measured.stop()
        data = measured.get_data()
        # The branches are kept without the tests, whose lines are another table.
        name = f"coverage.{zlib.crc32(file.encode())}.{part}"
        plain = coverage.CoverageData(str(work / name))
        plain.add_arcs({path: data.arcs(path) for path in data.measured_files()})
        plain.write()
        tests = sorted(plugin.tests)
        number = {test: place for place, test in enumerate(tests)}
        lines = {}
        for path in data.measured_files():
            lines[str(Path(path).relative_to(tree))] = {
                line: [number[test] for test in names if test in number]
                for line, names in data.contexts_by_lineno(path).items()
            }
        return {
            "tests": [[test, *plugin.tests[test]] for test in tests],
            "lines": lines,
            "broken": plugin.broken,
        }

    return task


def baseline(tree, work, files, workers, until):
    """Time all tests, and see which run which lines."""
    import coverage

    tests, broken = [], []
    lines = collections.defaultdict(lambda: collections.defaultdict(list))

    def done(name, slot, result, seconds):
        if not isinstance(result, dict):
            broken.append(f"{name}: {result}")
            return
        first = len(tests)
        tests.extend(result["tests"])
        broken.extend(result["broken"])
        for module, at in result["lines"].items():
            for line, numbers in at.items():
                lines[module][line].extend(first + number for number in numbers)

    tasks = []
    for file in files:
        size = (tree / file).stat().st_size
        parts = 1 + size // _LARGE_FILE
        tasks += [
            (size / parts, f"{file} {part + 1} of {parts}", (file, part, parts))
            for part in range(parts)
        ]
    tasks.sort(reverse=True)
    each(
        ((name, baseline_of(tree, work, *which), 600) for _, name, which in tasks),
        work,
        workers,
        until,
        done,
    )
    whole = coverage.Coverage(
        data_file=str(work / "coverage"),
        branch=True,
        source=[str(tree / "skmot")],
        config_file=False,
    )
    whole.combine([str(path) for path in work.glob("coverage.*")])
    text = io.StringIO()
    percent = whole.report(file=text, show_missing=True, skip_covered=True)
    return {
        "tests": tests,
        "broken": broken,
        "lines": lines,
        "percent": percent,
        "report": text.getvalue(),
    }


class Choice:
    """Which tests to try a fault against."""

    def __init__(self, tree, found):
        self.tree, self.lines, self.trees = tree, found["lines"], {}
        self.names = [test for test, *_ in found["tests"]]
        self.seconds = {
            test: seconds
            for test, seconds, outcome in found["tests"]
            if outcome == "passed" and seconds < _LONGEST / 2
        }

    def tests(self, fault):
        """Return tests in order, their seconds, and how many were left out."""
        module = fault["module"]
        # All tests of the mirrored file: what a fixture of the module runs is counted
        # for one test only, and a refused argument runs no line of the function.
        mirror = self._mirror(module)
        own = {test for test in self.names if test.partition("::")[0] in mirror}
        names = dict.fromkeys(self._by_line(module, fault["line"])) | dict.fromkeys(own)
        names = [test for test in names if test in self.seconds]
        chosen, total = [], 0.0
        # They are cheaper than they look, because one file is imported.
        quick = sorted(names, key=lambda t: self.seconds[t] * (0.3 if t in own else 1))
        for test in quick:
            if total + self.seconds[test] > _LONGEST:
                break
            chosen.append(test)
            total += self.seconds[test]
        spent = collections.Counter()
        for test in chosen:
            spent[test.partition("::")[0]] += self.seconds[test]
        chosen.sort(
            key=lambda t: (
                t not in own,
                spent[t.partition("::")[0]],
                t.partition("::")[0],
                self.seconds[t],
            )
        )
        return chosen, total, len(names) - len(chosen)

    def _mirror(self, module):
        inside = Path(module).relative_to("skmot")
        name = f"test_{inside.stem.lstrip('_')}.py"
        return {
            str(Path("tests") / inside.parent / name),
            str(Path("tests") / name),
        }

    def _by_line(self, module, line):
        """Return the tests that run a line, or what depends on it."""
        covered = self.lines.get(module, {})

        def of(lines):
            numbers = {number for at in lines for number in covered.get(str(at), [])}
            return [self.names[number] for number in sorted(numbers)]

        if module not in self.trees:
            self.trees[module] = ast.parse((self.tree / module).read_text())
        tree = self.trees[module]
        around = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.stmt) and _first(node) <= line <= node.end_lineno
        ]
        functions = [node for node in around if isinstance(node, ast.FunctionDef)]
        inside = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                inside.update(range(node.body[0].lineno, node.end_lineno + 1))
        if not functions:
            # A constant, or a decorated class: it runs when the module is imported, in
            # whichever test is the first. The tests are those that use its name.
            defined = {
                target.id
                for node in around
                if isinstance(node, ast.Assign | ast.AnnAssign)
                for target in ast.walk(node)
                if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store)
            }
            uses = {
                node.lineno
                for node in ast.walk(tree)
                if (isinstance(node, ast.Name) and node.id in defined)
                or (isinstance(node, ast.Attribute) and node.attr in defined)
            }
            return of(uses & inside) or of(inside)
        function = max(functions, key=lambda node: node.lineno)
        body = range(function.body[0].lineno, function.end_lineno + 1)
        if line not in body:
            # Decorators and defaults are run at import, too. A wrong argument that a
            # decorator refuses does not reach the body: such tests name the function.
            named = re.compile(rf"(?<!\w){function.name}(?!\w)")
            by_name = [test for test in self.names if named.search(test)]
            return list(dict.fromkeys(of(body) + by_name))
        statement = max(around, key=lambda node: node.lineno)
        end = statement.end_lineno
        if getattr(statement, "body", None):
            end = max(statement.lineno, statement.body[0].lineno - 1)
        return of(range(statement.lineno, end + 1)) or of(body) or of(inside)


def _first(statement):
    """Return the first line of a statement, with its decorators."""
    decorators = getattr(statement, "decorator_list", [])
    return min(node.lineno for node in (statement, *decorators))


def trial(work, fault, chosen, seconds):
    """Plant a fault in a slot's copy and run the tests."""

    def task(slot):
        tree = work / f"tree{slot}"
        old = (tree / fault["module"]).read_text()
        source = old if fault["operator"] == "NoOp" else mutated(tree, fault)
        if source is None:
            return {"outcome": "none"}
        after = _changed(old, source)
        place = tree / fault["module"]
        for cached in (place.parent / "__pycache__").glob(f"{place.stem}.*.pyc"):
            cached.unlink()
        place.write_text(source)
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        _enter(tree)
        files = list(dict.fromkeys(test.partition("::")[0] for test in chosen))
        limits = {test: _GRACE + _SLOWER * seconds[test] for test in chosen}
        count = 0
        # The files that are likely to notice are imported alone at first.
        for part in (files[:1], files[1:6], files[6:]):
            if not part:
                continue
            wanted = [test for test in chosen if test.partition("::")[0] in part]
            plugin = Plugin(chosen=wanted, limits=limits)
            status = _pytest(plugin, part, slot, "-x", "--tb=line")
            count += len(plugin.tests)
            if status not in (0, 5):
                test = plugin.first or (plugin.broken or ["?"])[0]
                why = getattr(plugin, "why", "collection")
                return {
                    "outcome": "killed",
                    "by": test,
                    "why": why,
                    "ran": count,
                    "after": after,
                }
        return {
            "outcome": "survived",
            "by": "",
            "why": "",
            "ran": count,
            "after": after,
        }

    return task


def _changed(old, new):
    """Return the lines that a fault changed, as they are with it."""
    lines = difflib.ndiff(old.splitlines(), new.splitlines())
    return "\n".join(line[2:].strip() for line in lines if line.startswith("+ "))


# --- The command --------------------------------------------------------------------


def area_of(module):
    """Name the area of a module."""
    return next(name for name, path in AREAS.items() if module.startswith(path))


def main():
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--out", type=Path, required=True, help="file of results, which is extended")
    add("--tree", type=Path, default=Path(), help="root of the repository (here)")
    add("--workers", type=int, default=os.cpu_count(), help="processes (cores)")
    add("--seconds", type=float, default=3000, help="time for all of it (3000)")
    add("--seed", default="1", help="of the order and choice of faults (1)")
    add("--rest", type=int, default=100, help="faults outside the areas (100)")
    add("--controls", type=int, default=20, help="trials without a fault (20)")
    add("--count", type=int, help="faults of the areas after the first (all)")
    add("--modules", nargs="*", help="only modules whose paths begin so")
    add("--tests", nargs="*", help="only test files whose paths begin so")
    add("--baseline", type=Path, help="file of all tests: written, then read")
    arguments = parser.parse_args()

    start = time.time()
    until = start + arguments.seconds
    os.environ.update(
        OMP_NUM_THREADS="1",
        OPENBLAS_NUM_THREADS="1",
        SCIPY_ARRAY_API="1",
        MPLBACKEND="agg",
        CUDA_VISIBLE_DEVICES="",
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
        # POT imports what it finds of these, which starts threads.
        POT_BACKEND_DISABLE_CUPY="1",
        POT_BACKEND_DISABLE_JAX="1",
        POT_BACKEND_DISABLE_PYTORCH="1",
        POT_BACKEND_DISABLE_TENSORFLOW="1",
    )
    for name in _PRELOADED:
        __import__(name)

    with tempfile.TemporaryDirectory(prefix="mutants_") as name:
        work = Path(name).resolve()
        tree = work / "tree"
        tree.mkdir()
        leave = shutil.ignore_patterns("__pycache__", "_build", "*.png")
        for part in ("skmot", "tests", "benchmarks", "doc", "examples"):
            shutil.copytree(arguments.tree / part, tree / part, ignore=leave)
        for file in arguments.tree.iterdir():
            if file.suffix in (".py", ".cfg", ".toml", ".md", ".cff"):
                shutil.copy2(file, tree)
        _run(arguments, work, tree, start, until)


def _run(arguments, work, tree, start, until):
    def say(text):
        print(f"{time.time() - start:6.0f} s  {text}", flush=True)

    files = sorted(
        str(path.relative_to(tree)) for path in tree.glob("tests/**/test_*.py")
    )
    if arguments.tests:
        files = [file for file in files if file.startswith(tuple(arguments.tests))]
    if arguments.baseline and arguments.baseline.exists():
        with gzip.open(arguments.baseline, "rt") as handle:
            found = json.load(handle)
    else:
        latest = start + _MOST_OF_TIMING * arguments.seconds
        found = baseline(tree, work, files, arguments.workers, latest)
        if arguments.baseline:
            with gzip.open(arguments.baseline, "wt") as handle:
                json.dump(found, handle)
    outcomes = collections.Counter(outcome for *_, outcome in found["tests"])
    say(f"tests: {dict(outcomes)}; {len(found['broken'])} files broken")
    say(f"branch coverage {found['percent']:.2f} %")
    arguments.out.with_suffix(".coverage.txt").write_text(found["report"])
    slow = sorted(found["tests"], key=lambda test: -test[1])[:10]
    for test, seconds, _ in slow:
        say(f"  {seconds:.1f} s: {test}")
    for test in found["broken"]:
        say(f"  broken: {test}")
    failed = [test for test, _, outcome in found["tests"] if outcome == "failed"]
    for test in failed[:40]:
        say(f"  failed: {test}")

    modules = sorted(str(path.relative_to(tree)) for path in tree.glob("skmot/**/*.py"))
    if arguments.modules:
        modules = [
            name for name in modules if name.startswith(tuple(arguments.modules))
        ]
    planned = []
    each(
        ((name, _listing(tree, name, arguments.seed), 300) for name in modules),
        work,
        arguments.workers,
        until,
        lambda name, slot, result, seconds: planned.extend(
            result if isinstance(result, list) else []
        ),
    )
    known = {}
    if arguments.out.exists():
        for line in arguments.out.read_text().splitlines():
            fault = json.loads(line)
            known[fault["place"]] = fault["outcome"]
    chosen = _order(planned, known, arguments)
    say(f"{len(planned)} faults, {len(chosen)} to try")

    for slot in range(arguments.workers):
        shutil.copytree(tree, work / f"tree{slot}")
    choice = Choice(tree, found)
    counts = collections.defaultdict(collections.Counter)
    handle = arguments.out.open("a")

    def done(fault, slot, result, seconds):
        place = work / f"tree{slot}" / fault["module"]
        shutil.copy2(tree / fault["module"], place)
        if result is None:
            return
        if not isinstance(result, dict):
            result = {"outcome": "killed", "by": result, "why": "", "ran": 0}
        line = dict(fault)
        area = "no fault" if fault["operator"] == "NoOp" else area_of(fault["module"])
        line.update(result, area=area, seconds=round(seconds, 1))
        handle.write(json.dumps(line) + "\n")
        handle.flush()
        counts[line["area"]][line["outcome"]] += 1

    def tasks():
        for fault in chosen:
            tests, seconds, left = choice.tests(fault)
            fault["left"] = left
            yield (
                fault,
                trial(work, fault, tests, choice.seconds),
                30 + 2 * seconds,
            )

    each(tasks(), work, arguments.workers, until, done)
    for area, count in counts.items():
        total = count["killed"] + count["survived"]
        say(f"{area}: {count['killed']} of {total} killed")
    say("end")


def _listing(tree, module, seed):
    return lambda slot: faults(tree, module, seed)


def _order(planned, known, arguments):
    """Order faults: earlier survivors, some of each area, then the others at random."""

    def digest(fault):
        return hashlib.sha256(f"{arguments.seed} {fault['place']}".encode()).digest()

    planned = sorted(planned, key=digest)
    again = [fault for fault in planned if known.get(fault["place"]) == "survived"]
    first, others = [], []
    seen = collections.Counter()
    for fault in planned:
        area = area_of(fault["module"])
        seen[area] += 1
        if seen[area] <= (arguments.rest if area == "rest" else _FIRST):
            first.append(fault)
        elif area != "rest":
            others.append(fault)
    if arguments.count is not None:
        others = others[: arguments.count]
    new = [fault for fault in first + others if fault["place"] not in known]
    # Without a fault nothing should be noticed: else a test fails by chance.
    controls = [
        {**fault, "operator": "NoOp", "place": f"{fault['place']} no fault"}
        for fault in new[-arguments.controls :]
    ]
    return again + controls + new


if __name__ == "__main__":
    main()
