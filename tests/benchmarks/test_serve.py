from __future__ import annotations

import asyncio
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from tests.server.conftest import toys_in

from lookalike_benchmarks import engine_cost, sharded
from lookalike_benchmarks.fronts import Trial
from lookalike_benchmarks.load import echo
from lookalike_benchmarks.load.fleet import ask
from lookalike_benchmarks.load.job import Job, read_requests, write_requests
from lookalike_benchmarks.serving import Running, listening


@pytest.fixture
def echoing():
    with listening([sys.executable, "-m", "lookalike_benchmarks.load.echo", "100"], r"ECHO on (\S+)") as running:
        yield running


@pytest.fixture
def job(echoing, tmp_path):
    """Return a job for the echo server; keywords replace its fields."""
    path = write_requests(tmp_path / "requests", [b"one", b"another", b""])

    def make(**fields):
        return Job(
            **{"address": echoing.address, "method": echo.METHOD, "requests": str(path)}
            | {"callers": 1, "seconds": 0.3, "warm_s": 0.1}
            | fields
        )

    return make


def test_requests_are_read_as_they_were_written(tmp_path):
    requests = [b"", b"\0" * 1000, b"text"]
    assert read_requests(write_requests(tmp_path / "requests", requests)) == requests


@pytest.mark.parametrize(("callers", "processes"), [(1, 1), (5, 1), (6, 2)])
def test_closed_loop_counts_what_the_callers_were_answered(job, callers, processes):
    load = ask(job(callers=callers), processes)
    assert load.calls > callers
    assert load.all_calls > load.calls
    assert load.failures == {}
    assert load.replies[0] == bytes(100)
    assert 0.2 < load.seconds < 2
    assert load.percentile_ms(50) <= load.percentile_ms(99) <= load.latencies_ms.max()


@pytest.mark.parametrize("callers", [1, 5])
def test_closed_loop_counts_slow_calls(job, callers):
    # The warm-up takes all of the time, as a slow call may.
    load = ask(job(callers=callers, seconds=0.0, warm_s=0.05))
    assert load.calls >= 1
    assert load.failures == {}


def test_open_loop_keeps_its_rate(job):
    load = ask(job(callers=2, rate=100.0, seconds=0.5), processes=2)
    assert load.calls == 50
    assert load.failures == {}


def test_latency_in_an_open_loop_counts_from_the_intended_start(job):
    # More than the caller can send: the delay must show in the latency.
    fast = ask(job(callers=1, rate=50.0, seconds=0.3))
    flooded = ask(job(callers=1, rate=20_000.0, seconds=0.2))
    assert flooded.percentile_ms(50) > 10 * fast.percentile_ms(50)
    assert flooded.percentile_ms(50) > 100


def test_failures_are_counted_by_code(job):
    load = ask(job(method="/no.such/Method"))
    assert load.calls == 0
    assert list(load.failures) == ["UNIMPLEMENTED"]
    assert load.note().endswith("calls failed with UNIMPLEMENTED")


def test_server_ends_with_its_block():
    with listening([sys.executable, "-m", "lookalike_benchmarks.load.echo", "1"], r"ECHO on (\S+)") as running:
        address = running.address
        with grpc.insecure_channel(address) as channel:
            assert channel.unary_unary(echo.METHOD)(b"x", timeout=10) == b"\0"
        before = running.cpu_seconds()
        assert before > 0
        assert running.rss_mib() > 1
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(echo.METHOD)(b"x", timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_server_that_fails_to_start_reports_the_reason():
    with (
        pytest.raises(RuntimeError, match="no port is free"),
        listening([sys.executable, "-c", "raise SystemExit('no port is free')"], r"ECHO on (\S+)"),
    ):
        pass


@pytest.mark.slow
def test_service_is_measured_in_every_way(bench):
    rows = {row["case"]: row for row in bench("serve")}
    closed = {name: row for name, row in rows.items() if name.startswith("closed loop")}
    kinds = ("vector", "key", "membership by key", "membership by vector", "image", "batch of 64")
    assert {row["params"]["kind"] for row in closed.values()} == set(kinds)
    for kind in kinds:
        assert f"closed loop by {kind}, 1 caller" in rows
    for name, row in rows.items():
        measured = row["measured"]
        assert row["note"] in ("", "latency from the intended start"), (name, row["note"])
        if "p99_ms" in measured:
            assert measured["p50_ms"] <= measured["p99_ms"] <= measured["p99_9_ms"]
    many = rows["closed loop by batch of 64, 1 caller"]["measured"]
    assert many["mean_batch_size"] == 64
    assert many["queries_per_s"] == pytest.approx(64 * many["calls_per_s"])
    assert rows["open loop by vector, 50 % of the fastest closed loop"]["params"]["rate_per_s"] > 0

    cpu = rows["CPU of a call less its search, over a bare gRPC echo"]
    figures = cpu["measured"]
    own = figures["server_cpu_us_per_call"] - figures["faiss_cpu_us_per_query"]
    assert figures["ratio_median"] == pytest.approx(own / figures["echo_cpu_us_per_call"])
    assert cpu["params"]["request_bytes"] > 512 * 4
    batches = rows["requests of 64 over bare faiss in batches of 64"]["measured"]
    assert batches["ratio_median"] == pytest.approx(batches["queries_per_s"] / batches["faiss_queries_per_s"])
    alone = rows["one caller's added latency over bare faiss"]["measured"]
    assert alone["added_ms"] == pytest.approx(alone["p50_ms"] - alone["faiss_p50_ms"])
    assert np.isfinite(alone["added_ms"])


@pytest.mark.slow
def test_servers_of_several_fronts_are_measured_beside_one_of_one_process(bench):
    one, two = bench("serve", "--fronts", "1,2")
    assert [one["params"]["fronts"], two["params"]["fronts"]] == [1, 2]
    for row in (one, two):
        measured = row["measured"]
        assert measured["calls_per_s"] > 0
        assert measured["cpu_us_per_call_of_all_processes"] >= measured["cpu_us_per_call_of_the_busiest"] > 0
    assert one["measured"]["cpu_over_1"] == one["measured"]["calls_over_1"] == 1
    assert two["measured"]["handover_us_of_one_caller"] > 0
    assert "handover_us_of_one_caller" not in one["measured"]


def test_routers_are_measured_beside_one_server(monkeypatch, tmp_path):
    """The servers are stand-ins; tests/server/test_shards.py tests the real ones."""
    started: list[tuple[str, ...]] = []

    @contextmanager
    def running(root, *options):
        started.append(tuple(map(str, options)))
        yield Running(f"127.0.0.1:{len(started)}", 0)

    def ask_server(trial, server, found):
        number = int(server.address.rpartition(":")[2])
        found.calls_per_s.append(100 / number)
        found.cpu_us.append(10.0 * number)
        found.one_caller_ms.append(2.0 * number)

    monkeypatch.setattr(sharded, "serving", running)
    monkeypatch.setattr(sharded, "routing", running)
    monkeypatch.setattr(sharded, "ask_server", ask_server)
    monkeypatch.setattr(sharded, "wait_for_network", lambda server: None)
    trial = Trial(tmp_path, ("--placement", "cpu"), np.empty((0, 2), np.float32), 10, 4, 1.0, 3, tmp_path)
    alone, two = sharded.compared(trial, [2], {"rows": 5})
    assert [options[:2] for options in started[1:3]] == [("--shard", "1/2"), ("--shard", "2/2")]
    named = tomllib.loads(Path(started[3][0]).read_text())
    assert named == {"shard": [{"replicas": ["127.0.0.1:2"]}, {"replicas": ["127.0.0.1:3"]}]}
    assert (alone.case, two.case) == ("one server", "router, 2 shards")
    assert alone.measured == {"calls_per_s": 100, "p50_ms_of_one_caller": 2, "cpu_us_per_call_of_the_server": 10}
    assert two.params == {"rows": 5, "k": 10, "shards": 2, "callers": 4, "seconds": 1.0}
    assert (two.measured["added_p50_ms"], two.measured["calls_over_one_server"]) == (6.0, 0.25)


@pytest.mark.slow
def test_cost_of_a_call_to_the_engine_process_is_measured_in_both_ways(tmp_path):
    toy = toys_in(tmp_path)(index="IVF8,Flat")
    costs = asyncio.run(engine_cost.measured(str(toy.root), 0.5, 1))
    assert [way for way, _ in costs] == ["whole", "arrays"]
    for _, cost in costs:
        assert cost.calls > 0
        assert cost.all_us > cost.loop_us > 0
