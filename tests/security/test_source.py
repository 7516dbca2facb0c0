"""Calls that the shipped code must not make, found in its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("client", "indexer", "server")
# Unpickling, evaluating, or running text; yaml.load without a safe loader; marshal and shelve unpickle as well.
CALLS = {
    "eval", "exec", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "pickle.load",
    "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "yaml.load", "joblib.load",
    "cloudpickle.load", "cloudpickle.loads", "dill.load", "dill.loads",
}  # fmt: skip


def findings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name, given = ast.unparse(node.func), {one.arg: one.value for one in node.keywords}
        if name in CALLS:
            yield f"{node.lineno}: {name}"
        if "shell" in given and not _is(given["shell"], False):
            yield f"{node.lineno}: {name} with a shell"
        if name == "torch.load" and not _is(given.get("weights_only"), True):
            yield f"{node.lineno}: torch.load without weights_only=True"
        if name.endswith(("np.load", "numpy.load")) and not _is(given.get("allow_pickle", ast.Constant(False)), False):
            yield f"{node.lineno}: {name} with pickles"


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_is_unpickled_evaluated_or_given_to_a_shell(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 20
    found = [f"{file.relative_to(ROOT)}:{one}" for file in files for one in findings(file.read_text())]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "eval(x)", "pickle.loads(x)", "subprocess.run(x, shell=True)", "subprocess.run(x, shell=y)", "torch.load(x)",
        "torch.load(x, weights_only=False)", "np.load(x, allow_pickle=True)", "yaml.load(x)", "os.system(x)",
    ],
)  # fmt: skip
def test_audit_finds_a_known_vulnerability(source: str) -> None:
    assert len(list(findings(source))) == 1


@pytest.mark.parametrize("source", ["torch.load(x, weights_only=True)", "np.load(x)", "subprocess.run([x])"])
def test_check_lets_the_safe_forms_be(source: str) -> None:
    assert list(findings(source)) == []
