"""Generate the asyncio client's methods from those of the synchronous client.

    python scripts/generate_async.py [--check]

Each method that sends a call becomes a coroutine, and lists become AsyncPager. Examples in docstrings are left out,
since the synchronous client has them. With --check, nothing is written; the exit code is 1 if a file is not up to date.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).resolve().parent.parent / "client" / "lookalike"
FILES = {"_sync_methods.py": "_aio_methods.py", "_sync_experiments.py": "_aio_experiments.py"}
# Methods that a subclass defines as coroutines.
AWAITED = {"_send", "_prepared"}
RENAMED = {"Pager": "AsyncPager"}


class Asynchronous(ast.NodeTransformer):
    """Turn the methods of a class into coroutines, except those that return a pager."""

    def __init__(self, coroutines: set[str]) -> None:
        self._coroutines = coroutines

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        _drop_examples(node)
        if node.name not in self._coroutines and node.name != "fetch":
            return node
        fields = {name: getattr(node, name) for name in node._fields}
        return ast.copy_location(ast.AsyncFunctionDef(**fields), node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        function = node.func
        if (
            isinstance(function, ast.Attribute)
            and isinstance(function.value, ast.Name)
            and function.value.id == "self"
            and function.attr in self._coroutines
        ):
            return ast.copy_location(ast.Await(node), node)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.iter, ast.Call) and ast.unparse(node.iter) == "pages.pages()":
            node.is_async = 1
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = RENAMED.get(node.id, node.id)
        return node

    def visit_alias(self, node: ast.alias) -> ast.AST:
        node.name = RENAMED.get(node.name, node.name)
        return node


def _drop_examples(node: ast.FunctionDef) -> None:
    if ast.get_docstring(node) is not None:
        first = node.body[0]
        assert isinstance(first, ast.Expr)
        text = str(ast.literal_eval(first.value))
        first.value = ast.Constant(re.sub(r"\n\s*\n\s*>>> .*", "", text, flags=re.DOTALL).rstrip() + _ending(text))


def _ending(text: str) -> str:
    """Return the end of a docstring: a docstring of several lines has its closing quotes on a line of their own."""
    kept = re.sub(r"\n\s*\n\s*>>> .*", "", text, flags=re.DOTALL).rstrip()
    return "\n        " if "\n" in kept else ""


def generated(source: str, name: str) -> str:
    """Return the asyncio methods generated from the source of the file `name`."""
    tree = ast.parse(source)
    methods = [
        node
        for each in tree.body
        if isinstance(each, ast.ClassDef)
        for node in each.body
        if isinstance(node, ast.FunctionDef)
    ]
    lists = {node.name for node in methods if node.returns and ast.unparse(node.returns).startswith("Pager[")}
    tree = Asynchronous({node.name for node in methods} - lists | AWAITED).visit(tree)
    first = tree.body[0]
    first.value = ast.Constant(f"The asyncio form of {name}. Made by scripts/generate_async.py: change that file.")
    return formatted(ast.unparse(ast.fix_missing_locations(tree)) + "\n")


def formatted(text: str) -> str:
    for arguments in (["check", "--fix-only", "--quiet"], ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(CLIENT / "_aio_generated.py"), "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"ruff {arguments[0]} failed: {done.stderr or done.stdout}")
        text = done.stdout
    return text


def main(arguments: list[str]) -> int:
    differ = []
    for source, made in FILES.items():
        text = generated((CLIENT / source).read_text(encoding="utf-8"), source)
        path = CLIENT / made
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        differ.append(made)
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
    if "--check" in arguments and differ:
        print(f"{', '.join(differ)}: not what its source makes; run: python scripts/generate_async.py", file=sys.stderr)
        return 1
    print(f"{'wrote ' + ', '.join(differ) if differ else 'up to date'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
