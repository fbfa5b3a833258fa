"""The faults that `mutants.py` plants, one at a time.

They are those of cosmic-ray's operators, and two more: a call whose result nobody uses
is left out, and a keyword argument is left out.
"""

import ast
import collections
import random

# Floats accept these, so that a fault is not noticed by a TypeError alone.
_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}
_BITS = {"BitAnd", "BitOr", "BitXor"}
# Arguments that only guard against faults of our own, or name a line in a warning.
_CHECKS = {"frozen", "stacklevel", "strict"}


def operators():
    """Return cosmic-ray's operators by family, and the two that it does not have."""
    from cosmic_ray.operators.provider import OperatorProvider

    families = collections.defaultdict(dict)
    provider = OperatorProvider()
    for name in provider:
        family = name
        if name.startswith("ReplaceBinaryOperator_"):
            _, old, new = name.split("_")
            if not ({old, new} <= _ARITHMETIC or {old, new} <= _BITS):
                continue
            family = "arithmetic"
        elif name.startswith("ReplaceComparisonOperator_"):
            # `is` for `==` and the reverse change nothing for None and small numbers.
            if "Is" in name:
                old, new = name.split("_")[1:]
                if not ({old, new} <= {"Is", "IsNot"}):
                    continue
            family = "comparison"
        elif name.startswith("ReplaceUnaryOperator_"):
            family = "unary"
            if name.endswith(("_Invert", "Invert_UAdd", "Invert_USub")):
                continue
        elif name in ("VariableReplacer", "VariableInserter"):
            continue
        families[family][name] = provider[name]()
    families["RemoveCall"]["RemoveCall"] = RemoveCall()
    families["RemoveKeyword"]["RemoveKeyword"] = RemoveKeyword()
    return families


class RemoveCall:
    """Leave out a call that is a statement of its own."""

    def mutation_positions(self, node):
        if node.type == "expr_stmt" or node.parent is None:
            return
        if node.parent.type != "simple_stmt" or node.type != "atom_expr":
            return
        if node.children[-1].type == "trailer" and node.children[-1].children[0] == "(":
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        import parso

        new = parso.parse("pass").children[0]
        new.prefix = node.get_first_leaf().prefix
        return new


class RemoveKeyword:
    """Leave out a keyword argument of a call."""

    def mutation_positions(self, node):
        for argument in self._arguments(node):
            yield argument.start_pos, argument.end_pos

    def mutate(self, node, index):
        argument = self._arguments(node)[index]
        children = list(node.children)
        place = next(i for i, child in enumerate(children) if child is argument)
        # With the comma after it, or before it if it is the last.
        if place + 1 < len(children) and children[place + 1] == ",":
            children[place].get_first_leaf().prefix = ""
            del children[place : place + 2]
        elif place and children[place - 1] == ",":
            del children[place - 1 : place + 1]
        else:
            del children[place]
        node.children = children
        return node

    @staticmethod
    def _arguments(node):
        if node.type not in ("arglist", "trailer"):
            return []
        return [
            child
            for child in node.children
            if child.type == "argument"
            and child.children[0].type == "name"
            and child.children[1] == "="
            and child.children[0].value not in _CHECKS
        ]


def faults(root, module, seed):
    """Return one fault for each place and family of operators in a module."""
    from cosmic_ray.ast import ast_nodes, get_ast

    source = (root / module).read_text()
    lines = source.splitlines()
    quiet = _silent_lines(source)
    places = collections.defaultdict(list)
    nodes = list(ast_nodes(get_ast(source)))
    for family, members in operators().items():
        for name, operator in members.items():
            for number, node in enumerate(nodes):
                for index, position in enumerate(operator.mutation_positions(node)):
                    start = position[0]
                    before = lines[start[0] - 1][: start[1]]
                    is_check = any(before.endswith(f"{name}=") for name in _CHECKS)
                    if start[0] not in quiet and not is_check:
                        key = (family, start, position[1])
                        places[key].append((name, number, index))
    found, times = [], collections.Counter()
    for (family, start, _), choices in sorted(places.items()):
        # A fault keeps its name although lines move.
        text = lines[start[0] - 1]
        column = start[1] - len(text) + len(text.lstrip())
        place = f"{module}: {text.strip()} {column} {family}"
        times[place] += 1
        place = f"{place} {times[place]}"
        name, number, index = random.Random(f"{seed} {place}").choice(choices)
        found.append(
            {
                "module": module,
                "line": start[0],
                "operator": name,
                "number": number,
                "index": index,
                "place": place,
                "before": text.strip(),
            }
        )
    return found


def _silent_lines(source):
    """Lines of annotations and docstrings, which nothing runs."""
    lines = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines.update(range(node.lineno, node.end_lineno + 1))
    return lines


def mutated(root, fault):
    """Return the source of a module with a fault, or None for the same program."""
    from cosmic_ray.ast import Visitor, get_ast

    members = {
        name: op for family in operators().values() for name, op in family.items()
    }
    operator = members[fault["operator"]]

    class Planter(Visitor):
        number = -1

        def visit(self, node):
            self.number += 1
            if self.number == fault["number"]:
                return operator.mutate(node, fault["index"])
            return node

    # The walk goes on inside a node that was put in, after the numbers that count.
    original = (root / fault["module"]).read_text()
    source = Planter().walk(get_ast(original)).get_code()
    try:
        if ast.dump(ast.parse(source)) == ast.dump(ast.parse(original)):
            return None
    except SyntaxError:
        return None
    return source
