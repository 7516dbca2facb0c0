"""Files of deploy/ parse, and name only existing options, metrics and files."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from lookalike_server.commands.cli import serve

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
_METRIC = re.compile(r"\b(lookalike_[a-z0-9_]+|process_[a-z_]+)\b")
_OPTIONS = {name for parameter in serve.params for name in parameter.opts if name.startswith("--")}


def documented():
    """Return the metrics of docs/observability.md, whose table a server test compares with the real ones."""
    table = (ROOT / "docs" / "observability.md").read_text()
    return set(re.findall(r"^\| `(lookalike_\w+)`", table, re.MULTILINE)) | {"process_resident_memory_bytes"}


def names_in(expression):
    # Histograms and counters have suffixes.
    found = {re.sub(r"_(bucket|sum|count)$", "", name) for name in _METRIC.findall(expression)}
    assert found, expression
    return found


def options_in(words):
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def test_dashboard_queries_only_documented_metrics():
    panels = json.loads((DEPLOY / "grafana" / "lookalike.json").read_text())["panels"]
    assert len(panels) >= 10
    for panel in panels:
        for target in panel["targets"]:
            assert names_in(target["expr"]) <= documented(), panel["title"]
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_alerts_match_the_documentation():
    text = (DEPLOY / "alerts.yml").read_text()
    assert text in (ROOT / "docs" / "observability.md").read_text()
    rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    for rule in rules:
        assert names_in(rule["expr"]) <= documented(), rule["alert"]


def test_kubernetes_manifest_uses_existing_options():
    deployment, service, claim = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["args"][0] == "serve"
    assert options_in(container["args"]) <= _OPTIONS
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    claims = [
        volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume
    ]
    assert claims == [claim["metadata"]["name"]]
    # The platform's grace period exceeds the longest call.
    grace = next(int(word.partition("=")[2]) for word in container["args"] if word.startswith("--grace="))
    assert pod["terminationGracePeriodSeconds"] > grace


def test_compose_file_uses_existing_files_and_options():
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    words = shlex.split(composed["services"]["lookalike"]["command"])
    assert words[0] == "serve"
    assert options_in(words) <= _OPTIONS
    mounted = [one.split(":")[0] for service in composed["services"].values() for one in service.get("volumes", [])]
    # Users create the collection, the tokens and the cache volume.
    for path in set(mounted) - {"./collection", "cache"}:
        assert (DEPLOY / path).exists(), path
    scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"][0]
    assert scraped["static_configs"][0]["targets"] == [f"lookalike:{words[words.index('--metrics-port') + 1]}"]


def test_systemd_unit_uses_existing_options():
    unit = (DEPLOY / "lookalike.service").read_text()
    command = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)[1].split()
    assert command[1] == "serve"
    assert options_in(command) <= {*_OPTIONS, "--config"}


def test_dockerfile_uses_existing_extras_and_a_non_root_user():
    import tomllib

    text = (DEPLOY / "Dockerfile").read_text()
    extras = re.search(r"'\.\[([a-z,]+)\]'", text)[1].split(",")
    assert set(extras) <= set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    assert re.search(r"^USER (?!root)", text, re.MULTILINE)
    probe = json.loads(re.search(r"HEALTHCHECK .*CMD (\[.*\])$", text, re.MULTILINE)[1])
    compile(probe[2], "probe", "exec")


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")) + sorted((ROOT / ".github").rglob("*.yml")))
def test_every_file_of_yaml_parses(path):
    assert list(yaml.safe_load_all(path.read_text()))
