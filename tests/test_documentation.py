"""Code blocks of the documentation that are not run: what they name must exist.

Code with `>>>` is run (`pytest --doctest-glob='*.rst' doc`). Blocks without it need a
cluster, an accelerator, a terminal, or packages and data that are not here.
"""

import ast
import builtins
import doctest
import importlib
import inspect
import re
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest

DOC = Path(__file__).parents[1] / "doc"
BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?: +.*\n|\n)+)", re.M)
PAGES = [
    path.relative_to(DOC).as_posix()
    for path in sorted([*DOC.glob("*.rst"), *DOC.glob("guide/*.rst")])
    if BLOCK.search(path.read_text(encoding="utf-8"))
]


def blocks_of(page):
    """Return the code of all blocks of a page, parsed."""
    text = (DOC / page).read_text(encoding="utf-8")
    return [ast.parse(dedent(block)) for block in BLOCK.findall(text)]


def examples_of(page):
    """Return the code of all examples of a page that are run, parsed."""
    text = (DOC / page).read_text(encoding="utf-8")
    return [
        ast.parse(example.source)
        for example in doctest.DocTestParser().get_examples(text)
    ]


def nodes_of(trees):
    return [node for tree in trees for node in ast.walk(tree)]


def bound_names(trees):
    """Return the names that code binds, by assignment, import or definition."""
    names = set()
    for node in nodes_of(trees):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return names


def imported(trees):
    """Import what code imports, as far as its packages are installed.

    Returns
    -------
    found : dict
        Objects by the names that they are bound to.
    """
    found = {}
    for node in nodes_of(trees):
        if isinstance(node, ast.Import):
            for alias in filter(_is_installed, node.names):
                module = importlib.import_module(alias.name)
                if alias.asname or "." not in alias.name:
                    found[alias.asname or alias.name] = module
        elif isinstance(node, ast.ImportFrom) and _is_installed(node):
            module = importlib.import_module(node.module)
            for alias in node.names:
                found[alias.asname or alias.name] = getattr(module, alias.name)
    return found


def _is_installed(node):
    module = node.module if isinstance(node, ast.ImportFrom) else node.name
    return find_spec(module.partition(".")[0]) is not None


def resolve(node, found):
    """Return what an expression stands for, or None if that is not known.

    A call of a class stands for the class, whose methods can be looked up.
    """
    if isinstance(node, ast.Name):
        return found.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = resolve(node.value, found)
        return None if owner is None else getattr(owner, node.attr)
    if isinstance(node, ast.Call):
        called = resolve(node.func, found)
        return called if inspect.isclass(called) else None
    return None


@pytest.mark.parametrize("page", PAGES)
def test_what_blocks_import_exists(page):
    imported(blocks_of(page))


@pytest.mark.parametrize("page", PAGES)
def test_names_in_blocks_are_those_of_the_page(page):
    blocks = blocks_of(page)
    read = {
        node.id
        for node in nodes_of(blocks)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    known = bound_names([*blocks, *examples_of(page)]) | set(dir(builtins))
    assert sorted(read - known) == []


@pytest.mark.parametrize("page", PAGES)
def test_calls_in_blocks_have_arguments_that_exist(page):
    blocks = blocks_of(page)
    found = imported([*examples_of(page), *blocks])
    for node in nodes_of(blocks):
        called = resolve(node.func, found) if isinstance(node, ast.Call) else None
        if not getattr(called, "__module__", "").startswith("skmot"):
            continue
        parameters = inspect.signature(called).parameters
        if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
            continue
        for keyword in node.keywords:
            if keyword.arg is not None:
                assert keyword.arg in parameters, (called, keyword.arg)


def test_blocks_are_found():
    # Of the page on scaling: callbacks, a cluster and an accelerator.
    assert len(blocks_of("scaling.rst")) == 4
