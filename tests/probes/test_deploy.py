"""What ships beside the code fits it: every metric that is used exists, every alert has its page."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from capelin.metrics.catalog import CATALOG, Kind, Metric, Scope
from capelin.probes.server import Address
from capelin.settings import Settings
from tests.support.processes import ROOT

DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"
OPERATIONS = ROOT / "docs" / "operations.md"
_OWN_LABELS = {"le", "instance", "job"}


def read(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def rules() -> list[dict[str, Any]]:
    return [rule for group in read(ALERTS)[0]["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Every query that ships, with where it stands."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield f"panel {panel['title']}", target["expr"]
    [keda] = read(DEPLOY / "kubernetes" / "keda.yaml")
    for trigger in keda["spec"]["triggers"]:
        yield "keda", trigger["metadata"]["query"]


def exported() -> dict[str, Metric]:
    """Every name that a query may use."""
    names: dict[str, Metric] = {}
    for metric in CATALOG:
        if metric.kind is Kind.HISTOGRAM:
            names |= {f"{metric.exported}{suffix}": metric for suffix in ("_bucket", "_sum", "_count")}
        else:
            names[metric.exported] = metric
    return names


@pytest.mark.parametrize(("where", "query"), list(queries()), ids=lambda value: value.replace(" ", "_")[:60])
def test_every_query_asks_for_metrics_and_labels_that_exist(where: str, query: str) -> None:
    known = exported()
    names = set(re.findall(r"\bcapelin_\w+", query))
    assert names, where
    assert names <= set(known), where
    labels = {label for name in names for label in known[name].labels} | _OWN_LABELS
    grouped = re.findall(r"\b(?:by|on|without) \(([^)]*)\)", query)
    chosen = re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', query)
    used = {label.strip() for group in grouped for label in group.split(",")} | set(chosen)
    assert used <= labels, where
    assert query.count("(") == query.count(")"), where


@pytest.mark.parametrize(("where", "query"), list(queries()), ids=lambda value: value.replace(" ", "_")[:60])
def test_figures_of_the_fleet_are_aggregated_so_that_a_new_leader_changes_nothing(
    where: str, query: str
) -> None:
    fleet = [name for name, metric in exported().items() if metric.scope is Scope.FLEET and name in query]
    assert not fleet or re.search(r"\b(max|min|sum)\b", query), where


def test_every_metric_is_on_the_dashboard() -> None:
    asked = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    missing = [metric.exported for metric in CATALOG if metric.exported not in asked]
    assert missing == []


def test_panels_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in panels()]
    cells = [
        (x, y)
        for at in places
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_happened_and_has_an_entry_in_the_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert f"\n### {rule['alert']}\n" in OPERATIONS.read_text()


def test_the_runbook_has_no_entry_without_an_alert() -> None:
    _, _, runbook = OPERATIONS.read_text().partition("## Runbook")
    assert re.findall(r"^### (\w+)$", runbook, re.MULTILINE) == [rule["alert"] for rule in rules()]


@pytest.fixture
def promtool() -> str:
    """Prometheus's own checker; `make test` brings it along where Debian has it."""
    folders = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = shutil.which("promtool", path=folders)
    if found is None:
        pytest.skip("there is no promtool")
    return found


def test_prometheus_accepts_the_rules(promtool: str) -> None:
    checked = subprocess.run(
        [promtool, "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_alerts_fire_for_what_they_are_for_and_for_nothing_else(promtool: str, tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    played = shutil.copy(Path(__file__).with_name("alerts.test.yaml"), tmp_path)
    checked = subprocess.run(
        [promtool, "test", "rules", str(played)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_prometheus_accepts_the_configuration(promtool: str) -> None:
    words = [promtool, "check", "config", str(DEPLOY / "prometheus" / "prometheus.yaml")]
    checked = subprocess.run(words, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_compose_file_mounts_what_there_is_and_scrapes_where_workers_listen() -> None:
    [compose] = read(ROOT / "compose.yaml")
    services = compose["services"]
    assert {name for name, service in services.items() if service.get("profiles")} == {
        "prometheus",
        "grafana",
    }
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or (ROOT / source).exists(), volume
    [config] = read(DEPLOY / "prometheus" / "prometheus.yaml")
    [discovered] = config["scrape_configs"][0]["dns_sd_configs"]
    command = services["worker"]["command"]
    assert discovered["port"] == Address.parse(command[command.index("--http") + 1]).port
    assert set(discovered["names"]) <= set(services)
    assert config["rule_files"] == [ALERTS.name]


def test_the_table_of_metrics_is_the_catalog() -> None:
    table = re.findall(
        r"^\| `(capelin_\w+)` \| (.*?) \| (\w+)(.*?) \| (.*) \|$", OPERATIONS.read_text(), re.MULTILINE
    )
    assert table == [
        (
            metric.exported,
            " ".join(f"`{label}`" for label in metric.labels) or "none",
            metric.kind.value,
            ", of the fleet" if metric.scope is Scope.FLEET else "",
            metric.help,
        )
        for metric in CATALOG
    ]


def test_the_pod_outlives_the_grace_time_of_its_jobs_and_is_probed_where_it_listens() -> None:
    deployment, budget = read(DEPLOY / "kubernetes" / "worker.yaml")
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    grace = float(env["CAPELIN_GRACE"])
    assert grace == Settings().grace
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > pause + grace + 10
    address = Address.parse(container["args"][container["args"].index("--http") + 1])
    assert [port["containerPort"] for port in container["ports"]] == [address.port]
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert container["startupProbe"]["httpGet"]["path"] == "/health/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["timeoutSeconds"] > 4, "checks take 2 s at most, those of --processes 3"
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert (budget["kind"], budget["spec"]["selector"]["matchLabels"]) == ("PodDisruptionBudget", labels)
    [keda] = read(DEPLOY / "kubernetes" / "keda.yaml")
    assert keda["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_the_systemd_unit_outlives_the_grace_time_and_tells_the_supervisor_alone() -> None:
    unit = (DEPLOY / "systemd" / "capelin-worker.service").read_text()
    values = dict(
        line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#")
    )
    assert float(values["TimeoutStopSec"]) > float(values["Environment"].partition("=")[2]) + 10
    assert values["KillMode"] == "mixed"
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    path = DEPLOY / "systemd" / "capelin-worker.service"
    checked = subprocess.run(
        [analyze, "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in checked.stderr.splitlines() if "capelin-worker.service" in line]
    # Neither the folder nor the user exists here.
    assert [
        line for line in complaints if "is not executable" not in line and "does not exist" not in line
    ] == []
