"""The house stands: imports point down the floors of CONTRIBUTING.md, and none runs in a circle."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = "anabranch"
# commands, and tables that toys may do without, load what needs PyArrow when they run
LAZY = {"cli", "datasets"}


def floors(text):
    """The floor of every room: 0 for the lowest row of the table."""
    table = text.split("| floor |")[1].split("\n\n")[0]
    rows = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines()[2:]]
    return {room: number for number, rooms in enumerate(reversed(rows)) for room in rooms}


def modules(source):
    """Path by name, of every module of the house."""
    names = {}
    for path in sorted((source / HOUSE).rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(text, known):
    """Modules of the house that a module imports, at its head, for types, in functions: name, and whether lazily."""
    tree = ast.parse(text)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            named = [name if name in known else node.module for name in names]
        elif isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        else:
            continue
        yield from ((name, id(node) in inside) for name in named if name.split(".")[0] == HOUSE)


def circles(graph):
    """What is left of a graph when all that import nothing that is left are taken away, one after the other."""
    left = {name: set(others) & set(graph) for name, others in graph.items()}
    while free := [name for name, others in left.items() if not others & set(left)]:
        for name in free:
            del left[name]
    # and from the other end: what only leads to a circle is none of it
    while free := [name for name in left if not any(name in others for others in left.values())]:
        for name in free:
            del left[name]
    return sorted(left)


@pytest.fixture(scope="module")
def house():
    named = modules(ROOT / "src")
    return {name: sorted(set(imports(path.read_text(), named))) for name, path in named.items()}


def room(name):
    return name.split(".")[1] if "." in name else None


def test_no_imports_run_in_a_circle(house):
    assert circles({name: [other for other, _ in found] for name, found in house.items()}) == []


def test_imports_point_down(house):
    level = floors((ROOT / "CONTRIBUTING.md").read_text())
    inside = {name: found for name, found in house.items() if room(name)}
    assert {room(name) for name in inside} == set(level), "the table of CONTRIBUTING.md names every room, and no other"
    upward = [
        f"{name} -> {other}"
        for name, found in inside.items()
        for other, _ in found
        if room(other) is None or level[room(other)] > level[room(name)]
    ]
    # the command line speaks as a user does: `import anabranch`
    assert [one for one in upward if not (one.startswith("anabranch.cli.") and one.endswith("-> anabranch"))] == []


def test_functions_import_nothing_of_the_house(house):
    lazy = [f"{name} -> {other}" for name, found in house.items() for other, late in found if late]
    assert [one for one in lazy if one.split(".")[1] not in LAZY] == []


def test_rooms_of_one_floor_do_not_lead_through_each_other():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"c"}, "e": set()}
    assert circles(graph) == ["b", "c"]


def test_what_is_read_of_imports():
    text = (
        "from typing import TYPE_CHECKING\nfrom anabranch import flows\nimport anabranch.draws\n"
        "if TYPE_CHECKING:\n    from anabranch.models.flow import Flow\n"
        "def f():\n    from anabranch.models import pieces\n"
    )
    known = {"anabranch.flows", "anabranch.models.flow", "anabranch.models.pieces"}
    assert list(imports(text, known)) == [
        ("anabranch.flows", False),
        ("anabranch.draws", False),
        ("anabranch.models.flow", False),
        ("anabranch.models.pieces", True),
    ]
