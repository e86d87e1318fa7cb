"""The package keeps its shape: imports go down from room to room, nothing goes round, no room and no file grows large.

    python tests/test_structure.py

prints the arrows between the rooms: a Mermaid diagram, which `defectaug/README.md` shows, and the whole table.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "defectaug"
ROOMS = (
    "errors", "device", "io", "config", "data", "nn", "methods", "bundle",
    "training", "synthesis", "metrics", "benchmark", "reporting", "cli",
)  # fmt: skip
"""A room is a folder or a single file; each may import those before it."""
TOP = "defectaug"  # `__init__.py` and `__main__.py`, which may import all
WITHOUT_METHODS = ("training", "synthesis", "metrics", "benchmark", "reporting", "cli")
MOST_FILES = 15  # of a folder; each method's folder counts apart
LARGEST_SHARE = 0.25  # of the package's lines, in one folder
MOST_LINES = 400  # of a file

Edge = tuple[str, str]
"""An importing module and an imported one, such as ("defectaug.data.index", "defectaug.errors")."""


@cache
def sources() -> dict[str, Path]:
    """The package's modules by their dotted names."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = [PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room_of(module: str) -> str:
    parts = module.split(".")
    return TOP if len(parts) == 1 or parts[1] == "__main__" else parts[1]


@cache
def nodes(text: str) -> list[ast.AST]:
    """All nodes of a file's text."""
    return list(ast.walk(ast.parse(text)))


def imported(module: str, text: str, is_package: bool = False) -> Iterator[str]:
    """What `module` imports anywhere in its text, in functions and for type checking too, as dotted names.

    `from a import b` gives "a.b", which may also be a name within module a.
    """
    for node in nodes(text):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = module.split(".")[: (1 if is_package else 0) - node.level or None] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def named(text: str) -> Iterator[str]:
    """The modules that are named by a string, as a registry does that imports them late."""
    for node in nodes(text):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            yield from {node.value} & sources().keys()


def resolved(name: str) -> str | None:
    """The module of the package that an imported name is or lies in; None for other packages and the version."""
    if name.split(".")[0] != PACKAGE.name or name == f"{PACKAGE.name}.__version__":
        return None
    while name not in sources():
        name = name.rpartition(".")[0]
    return name


@cache
def imports() -> frozenset[Edge]:
    """Every import within the package. Importing a module imports the packages around it too."""
    edges = set()
    for module, path in sources().items():
        for name in imported(module, path.read_text(encoding="utf-8"), path.name == "__init__.py"):
            if target := resolved(name):
                parts = target.split(".")
                edges |= {(module, ".".join(parts[:count])) for count in range(2, len(parts))} | {(module, target)}
    return frozenset((source, target) for source, target in edges if source != target)


@cache
def arrows() -> dict[Edge, list[Edge]]:
    """The imports behind each arrow from one room to another; a module named by a string counts as imported."""
    late = {(module, name) for module, path in sources().items() for name in named(path.read_text(encoding="utf-8"))}
    found = defaultdict(list)
    for source, target in sorted(imports() | late):
        if room_of(source) != room_of(target):
            found[room_of(source), room_of(target)].append((source, target))
    return dict(found)


def upward(edges: dict[Edge, list[Edge]]) -> set[Edge]:
    """The imports that go from a room to a later one."""
    order = {room: number for number, room in enumerate((*ROOMS, TOP))}
    return {edge for (source, target), found in edges.items() if order[source] < order[target] for edge in found}


def circular(edges: frozenset[Edge]) -> set[Edge]:
    """The imports that lie on a circle of files."""
    after = defaultdict(set)
    for source, target in edges:
        after[source].add(target)

    def reaches(start: str, goal: str) -> bool:
        seen, waiting = {start}, [start]
        while waiting:
            new = after[waiting.pop()] - seen
            seen |= new
            waiting += new
        return goal in seen

    return {(source, target) for source, target in edges if reaches(target, source)}


def method_names(module: str, text: str, names: set[str]) -> set[str]:
    """Which methods a file imports, or names as a string of that word alone."""
    words = {node.value for node in nodes(text) if isinstance(node, ast.Constant)}
    parts = [name.split(".") for name in (*imported(module, text), *named(text))]
    return names & (words | {name[2] for name in parts if name[:2] == [PACKAGE.name, "methods"] and len(name) > 2})


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def mermaid() -> str:
    """The arrows between the rooms, from above; without those that repeat a way through another room."""
    order = {room: number for number, room in enumerate(ROOMS)}
    direct = {(source, target) for source, target in arrows() if order.get(source, -1) > order.get(target, 99)}
    after = defaultdict(set)
    for source, target in direct:
        after[source].add(target)

    def below(room: str) -> set[str]:
        return after[room].union(*(below(other) for other in after[room]))

    kept = [
        f"    {source} --> {target}"
        for source, target in sorted(direct, key=lambda edge: [-order[room] for room in edge])
        if not any(target in below(other) for other in after[source])
    ]
    return "\n".join(["flowchart TD", *kept])


def table() -> Iterator[str]:
    """Every room with those it imports, and how many imports there are of each."""
    for room in (*ROOMS, TOP):
        below = [f"{other} {len(arrows()[room, other])}" for other in ROOMS if (room, other) in arrows()]
        yield f"{room:10} {', '.join(below)}"


CHANGES_ITS_HOST = {"sklearn"}
"""Libraries that set environment variables of the process that imports them."""


KNOWN: set[Edge] = set()
"""Imports of today that still have to be mended."""


def test_no_file_imports_what_changes_the_process_it_is_imported_in() -> None:
    for module, path in sources().items():
        names = {name.split(".")[0] for name in imported(module, path.read_text(encoding="utf-8"))}
        assert not names & CHANGES_ITS_HOST, module


def test_every_file_lies_in_a_room() -> None:
    assert {room_of(module) for module in sources()} <= {*ROOMS, TOP}


def test_imports_go_down_and_never_round() -> None:
    assert upward(arrows()) | circular(imports()) == KNOWN


def test_the_diagram_of_the_readme_is_that_of_the_code() -> None:
    """Where it is not: `python tests/test_structure.py` prints the new one."""
    assert f"```mermaid\n{mermaid()}\n```" in (PACKAGE / "README.md").read_text(encoding="utf-8")


def test_no_folder_holds_too_much() -> None:
    files = defaultdict(list)
    for path in sources().values():
        files[str(path.parent.relative_to(PACKAGE))].append(lines_of(path))
    total = sum(map(sum, files.values()))
    assert {folder for folder, found in files.items() if len(found) > MOST_FILES} == set()
    assert {folder: sum(found) for folder, found in files.items() if sum(found) > LARGEST_SHARE * total} == {}


def test_no_file_is_too_long_to_read() -> None:
    assert {module: lines_of(path) for module, path in sources().items() if lines_of(path) > MOST_LINES} == {}


def test_no_room_above_the_methods_names_one() -> None:
    names = {path.name for path in (PACKAGE / "methods").iterdir() if (path / "__init__.py").is_file()}
    found = {
        module
        for module, path in sources().items()
        if room_of(module) in WITHOUT_METHODS and method_names(module, path.read_text(encoding="utf-8"), names)
    }
    assert found == set()


def test_importing_the_package_and_its_command_line_imports_no_torch() -> None:
    code = "import sys, defectaug, defectaug.cli.main; print(*(n for n in sys.modules if n.split('.')[0] == 'torch'))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split() == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f():\n    from defectaug.io import images", ["defectaug.io.images"]),
        ("if TYPE_CHECKING:\n    import defectaug.cli.main", ["defectaug.cli.main"]),
        ("from . import losses", ["defectaug.methods.dtgan.losses"]),
        ("from ..base import Method", ["defectaug.methods.base.Method"]),
    ],
)
def test_imports_are_found_wherever_they_stand(text: str, expected: list[str]) -> None:
    assert list(imported("defectaug.methods.dtgan.method", text)) == expected


def test_an_arrow_up_and_a_circle_are_found() -> None:
    edges = frozenset({("defectaug.io.a", "defectaug.io.b"), ("defectaug.io.b", "defectaug.io.a"), ("x", "y")})
    assert circular(edges) == edges - {("x", "y")}
    up = [("defectaug.io.files", "defectaug.data.index")]
    assert upward({("io", "data"): up, ("data", "io"): [up[0][::-1]]}) == set(up)


def test_naming_a_method_is_found() -> None:
    texts = ("from defectaug.methods.dtgan import losses", 'kind == "dtgan"', "import defectaug.methods.dtgan.codes")
    for text in texts:
        assert method_names("defectaug.cli.train", text, {"dtgan", "residual"}) == {"dtgan"}
    assert not method_names("defectaug.cli.train", 'help = "for dtgan"', {"dtgan", "residual"})


if __name__ == "__main__":
    print(mermaid(), *table(), sep="\n")
