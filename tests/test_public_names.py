"""Public names against the API page, lazy submodules, and the graph of imports."""

import ast
import inspect
import pkgutil
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from importlib.util import resolve_name
from pathlib import Path

import pytest

import skmot
from tests.public import public_modules

PACKAGE = Path(skmot.__file__).parent
API_PAGE = PACKAGE.parent / "doc" / "api" / "index.rst"
# "Rooms": the modules and packages at the top of skmot.
ROOMS = {module.name for module in pkgutil.iter_modules(skmot.__path__)}
PUBLIC_ROOMS = {room for room in ROOMS if not room.startswith("_")}

# -- the API page ------------------------------------------------------------------


def public_names():
    """Return the public names of each module that has an `__all__`."""
    return {
        module.__name__: [name for name in module.__all__ if not name.startswith("__")]
        for module in public_modules()
    }


def names_on_page(text):
    """Return the names that the page lists of each module."""
    found, module, in_list = {}, None, False
    for line in text.splitlines():
        directive = re.match(r"\.\. (\w+)::\s*(\S*)", line)
        if directive:
            in_list = directive[1] == "autosummary"
            if directive[1] in ("module", "currentmodule"):
                module = directive[2]
        elif line and not line.startswith(" "):
            in_list = False
        elif in_list and re.fullmatch(r" +~?[\w.]+", line):
            found.setdefault(module, []).append(line.strip(" ~"))
    return found


@pytest.fixture(scope="module")
def on_page():
    return names_on_page(API_PAGE.read_text(encoding="utf-8"))


def test_lists_of_the_page_are_read():
    page = """
.. module:: skmot

.. autosummary::
   :toctree: generated

   LayerStack
   align_stimuli

Text of :class:`skmot.Other`:

.. module:: skmot.metrics

.. autosummary::

   linear_cka
"""
    assert names_on_page(page) == {
        "skmot": ["LayerStack", "align_stimuli"],
        "skmot.metrics": ["linear_cka"],
    }


def test_every_public_name_is_on_the_page(on_page):
    documented = {
        id(getattr(import_module(module), name))
        for module, names in on_page.items()
        for name in names
    }
    # By what they are: a name may be public in several places and listed in one.
    missing = [
        f"{module}.{name}"
        for module, names in public_names().items()
        for name in names
        if id(getattr(import_module(module), name)) not in documented
    ]
    assert not missing, f"not on {API_PAGE.name}: {missing}"


def test_every_name_on_the_page_is_public(on_page):
    public = public_names()
    unknown = [
        f"{module}.{name}"
        for module, names in on_page.items()
        for name in names
        if name not in public.get(module, ())
    ]
    assert not unknown, f"on {API_PAGE.name}, in no `__all__`: {unknown}"
    listed = [(module, name) for module, names in on_page.items() for name in names]
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("room", sorted(PUBLIC_ROOMS))
def test_a_public_module_says_what_is_public(room):
    module = import_module(f"skmot.{room}")
    assert module.__all__
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert inspect.getdoc(getattr(module, name))


# -- submodules --------------------------------------------------------------------

# What the estimators are made of, so that `import skmot` imports it. All other
# submodules wait until they are asked for.
IMPORTED_AT_ONCE = {
    "base",
    "exceptions",
    "layers",
    "metrics",
    "multilevel",
    "pairs",
    "transport",
}
# What single submodules use, and is slow to import or not installed everywhere.
OTHER_PACKAGES = {"distributed", "matplotlib", "networkx", "ot", "torch"}


def in_a_fresh_process(code):
    """Run code in a new interpreter and return the lines that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_import_takes_no_more_than_estimators_need():
    imported = in_a_fresh_process(
        "import sys, skmot; print(*(name for name in sys.modules), sep='\\n')"
    )
    rooms = {name.split(".")[1] for name in imported if name.startswith("skmot.")}
    assert rooms & PUBLIC_ROOMS == IMPORTED_AT_ONCE
    assert not OTHER_PACKAGES & {name.split(".")[0] for name in imported}


def test_every_submodule_is_reached_from_the_package():
    # A package imported anew for each, so that none is there because of another.
    rooms = sorted(PUBLIC_ROOMS)
    code = f"""
import sys
for room in {rooms}:
    for name in [name for name in sys.modules if name.split(".")[0] == "skmot"]:
        del sys.modules[name]
    import skmot
    assert room in dir(skmot)
    print(getattr(skmot, room).__name__)
    del skmot
"""
    assert in_a_fresh_process(code) == [f"skmot.{room}" for room in rooms]


def test_what_is_no_name_is_not_found():
    with pytest.raises(AttributeError, match="'skmot' has no attribute 'nothing'"):
        _ = skmot.nothing
    with pytest.raises(AttributeError, match=r"'skmot.metrics' has no attribute 'no'"):
        _ = skmot.metrics.no


# -- the graph of imports ----------------------------------------------------------

# From the ground up: a room imports from floors below its own only.
ORDER = [
    {"_utils", "_version", "exceptions"},
    {"layers", "transport"},
    {"_units"},
    {"_scores", "_repeats"},
    {"base", "metrics", "preprocessing"},
    {"pairs"},
    {"multilevel"},
    {"datasets", "extraction", "inspection", "model_selection", "scaling"},
    {"partial"},
]
MOST_PRIVATE_ROOMS = 6
MOST_FLOORS = 9
MOST_ARROWS = 74
# `skmot.metrics.pairwise_costs` is defined in model_selection, and imported from there
# when it is asked for.
ALIASES = {("metrics", "model_selection")}


def imported_modules(code, package, is_room):
    """Yield the full names of what a module's code imports, wherever it does."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            # What is imported from the package itself may be a room.
            for alias in node.names:
                room = f"skmot.{alias.name}"
                yield room if module == "skmot" and is_room(alias.name) else module
        elif isinstance(node, ast.Call) and node.args:
            function = node.func
            called = getattr(function, "id", getattr(function, "attr", None))
            name = node.args[0]
            if called in ("import_module", "__import__"):
                # Names that are put together cannot be followed.
                assert isinstance(name, ast.Constant), ast.unparse(node)
                yield name.value


def arrows_between_rooms(package):
    """Return the pairs (room, room it imports from) of a package called skmot."""
    rooms = {path.stem for path in package.iterdir()}
    arrows = set()
    for path in package.rglob("*.py"):
        inside = path.relative_to(package).with_suffix("").parts
        room = inside[0]
        if room == "__init__":
            # It is above all rooms.
            continue
        parent = ".".join(["skmot", *inside[:-1]])
        for name in imported_modules(
            path.read_text(encoding="utf-8"), parent, rooms.__contains__
        ):
            first, *rest = name.split(".")
            if first == "skmot" and rest[:1] != [room]:
                arrows.add((room, rest[0] if rest else "skmot"))
    return arrows


ARROWS = arrows_between_rooms(PACKAGE) - ALIASES


def drawn(arrows):
    """Return arrows as text, a line a room."""
    rooms = sorted({room for room, _ in arrows})
    lines = [
        f"{room} -> {', '.join(sorted(end for start, end in arrows if start == room))}"
        for room in rooms
    ]
    return "\n".join([f"{len(arrows)} arrows:", *lines])


def floors(arrows):
    """Return the floor of each room, from 1: one above the highest it imports from."""
    below = {room: set() for arrow in arrows for room in arrow}
    for room, imported in arrows:
        below[room].add(imported)
    found = {}
    for room in TopologicalSorter(below).static_order():
        found[room] = 1 + max((found[other] for other in below[room]), default=0)
    return found


def test_arrows_are_those_of_the_code(tmp_path):
    package = tmp_path / "skmot"
    for name, code in {
        "__init__.py": "from skmot.top import a",
        "_low.py": "import numpy",
        "top.py": "def f():\n    from skmot._low import a",
        "other.py": "import skmot.top\nfrom skmot import _low, Name",
        "room/__init__.py": "from .inner import a",
        "room/inner.py": "from ..top import a\nfrom skmot.room import inner",
        "late.py": "from importlib import import_module\nimport_module('skmot.other')",
    }.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    arrows = arrows_between_rooms(package)
    assert arrows == {
        ("top", "_low"),
        ("other", "top"),
        ("other", "_low"),
        ("other", "skmot"),
        ("room", "top"),
        ("late", "other"),
    }
    assert floors(arrows)["late"] == 4
    with pytest.raises(CycleError):
        floors({*arrows, ("_low", "late")})


def test_imports_make_no_circle():
    try:
        floors(ARROWS)
    except CycleError as error:
        pytest.fail(f"{' -> '.join(error.args[1])}\n{drawn(ARROWS)}")


def test_imports_run_one_way():
    assert set.union(*ORDER) == ROOMS, "every room has its place in ORDER"
    place = {room: number for number, rooms in enumerate(ORDER) for room in rooms}
    # What the package gives at its top comes from everywhere.
    place["skmot"] = len(ORDER)
    wrong = {arrow for arrow in ARROWS if place[arrow[0]] <= place[arrow[1]]}
    assert not wrong, f"against the order: {sorted(wrong)}\n{drawn(ARROWS)}"


def test_aliases_are_needed():
    assert arrows_between_rooms(PACKAGE) >= ALIASES


def test_the_house_stays_small():
    private = {room for room in ROOMS if room.startswith("_")}
    assert len(private) <= MOST_PRIVATE_ROOMS, sorted(private)
    assert len(ARROWS) <= MOST_ARROWS, drawn(ARROWS)
    found = floors(ARROWS)
    assert max(found.values()) <= MOST_FLOORS, f"{found}\n{drawn(ARROWS)}"
