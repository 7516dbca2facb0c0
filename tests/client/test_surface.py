"""Public names of the package, and the modules that it imports."""

import importlib.metadata
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import lookalike

PUBLIC = """
TLS AsyncPager Attribute Attributes Attribution AuthenticationError CallCancelledError Client ClosedError Cluster
Clustering Clusters Collection Column DataLossError DeadlineExceededError Deleted Described Experiment
FailedPreconditionError Filter Folded GenerationChangedError
GraphList GraphLists Index InvalidArgumentError Label Labels Limits LocalClient
LookalikeError Member Members Membership Memberships MembershipsBatch MessageTooLargeError Neighbor Neighbors
NeighborsBatch NotFoundError OverloadedError Page Pager Plan ProtocolError RecallPoint Restored Served ServedCollection
ServerError ServerInfo Space StoredImage StoredImages StoredResult Table Thumbnails Timings UnavailableError
UnimplementedError Upserted aio cluster column distance open predicted probability request_id traceparent
"""


def test_public_names_equal_all():
    assert set(dir(lookalike)) == set(lookalike.__all__) == set(PUBLIC.split())
    assert lookalike.aio.__all__ == ["Client"]


def test_everything_public_has_a_docstring():
    for name in lookalike.__all__:
        assert getattr(lookalike, name).__doc__, name
    for client in (lookalike.Client, lookalike.aio.Client):
        for name, value in inspect.getmembers(client, callable):
            if not name.startswith("_"):
                assert value.__doc__, name


def test_both_clients_have_the_same_methods_with_the_same_arguments():
    names = {name for name in dir(lookalike.Client) if not name.startswith("_")}
    assert names == {name for name in dir(lookalike.aio.Client) if not name.startswith("_")}
    for name in names | {"__init__"}:
        ours = inspect.signature(getattr(lookalike.Client, name)).parameters
        theirs = inspect.signature(getattr(lookalike.aio.Client, name)).parameters
        assert list(ours.values()) == list(theirs.values()), name


def test_methods_have_explicit_signatures():
    for client in (lookalike.Client, lookalike.aio.Client):
        shown = inspect.signature(client.search).parameters
        assert {"key", "id", "image", "vector", "keys", "ids", "images", "vectors", "k", "where"} <= shown.keys()
        for name in (name for name in dir(client) if not name.startswith("_")):
            parameters = inspect.signature(getattr(client, name)).parameters.values()
            assert not [one for one in parameters if one.kind is one.VAR_KEYWORD], name
            # Defaults are None: neither 0 nor "" stands for the server's default.
            defaults = [one.default for one in parameters if one.name != "offset"]
            assert not [one for one in defaults if isinstance(one, (int, str)) and one in (0, "") and one is not False]


def test_version_matches_the_distribution():
    assert lookalike.__version__ == importlib.metadata.version("lookalike")


def test_asyncio_client_is_what_its_source_makes():
    script = Path(__file__).parents[2] / "scripts" / "generate_async.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_error_is_a_lookalike_error_and_named_so():
    errors = [getattr(lookalike, name) for name in lookalike.__all__ if name.endswith("Error")]
    assert len(errors) == 16
    for error in errors:
        assert issubclass(error, lookalike.LookalikeError)
        assert error.__module__ == "lookalike"


def test_importing_the_client_loads_its_three_dependencies_and_nothing_else():
    program = (
        "import sys; before = set(sys.modules)\n"
        "import lookalike, lookalike.aio, lookalike.wire\n"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names\n"
        "print(*sorted(name for name in loaded if not name.startswith('_')))\n"
        "print('google.rpc' in sys.modules, 'lookalike.cli' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded, others = done.stdout.splitlines()
    # grpc imports its own dependencies, and sister packages that happen to be installed.
    of_grpc = {"grpc_health", "grpc_reflection", "grpc_status", "grpc_tools", "cython_runtime", "typing_extensions"}
    assert set(loaded.split()) - of_grpc == {"google", "grpc", "lookalike", "numpy"}
    assert others == "False False"


def test_client_covers_every_method_of_the_services():
    from lookalike import _calls, _experiment_calls, _update_calls
    from lookalike.v1 import cluster_pb2, collection_pb2, experiment_pb2, search_pb2, server_pb2, update_pb2

    source = "".join(map(inspect.getsource, (_calls, _experiment_calls, _update_calls)))
    for file in (search_pb2, cluster_pb2, collection_pb2, experiment_pb2, server_pb2, update_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                assert f'"{service.full_name}/{method.name}"' in source


def test_each_public_name_is_loaded_when_it_is_first_used():
    for name in lookalike.__all__:
        assert getattr(lookalike, name) is getattr(lookalike, name)
    assert set(lookalike.__all__) <= set(dir(lookalike))


@pytest.mark.parametrize("typed", [["--version"], ["--help"], ["search", "--help"], ["index", "--help"]])
def test_command_that_only_prints_loads_nothing_heavy(typed):
    command = [sys.executable, "-X", "importtime", "-m", "lookalike", *typed]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "click" in loaded
    assert not loaded & {"numpy", "grpc", "google.protobuf", "pyarrow", "torch", "faiss", "PIL", "sklearn"}
