"""Test processes forked from one that has already imported torch and other large modules.

A new interpreter takes 1 to 4 seconds of processor time to import what a command or a
child of a server needs, and the tests start hundreds of them. Instead, pytest has one
process, the zygote, that imports everything before it has any thread. It then forks on
request:

- command lines `python -m lookalike ...`, those of the benchmarks and of the fault harness, and programs of
  `tests.programs`, started by subprocess;
- the processes of the `lookalike` packages, and of pools of concurrent.futures, that multiprocessing spawns;
- the workers of pytest-xdist, each of which uses the zygote that it gets as a fork.

A fork gets the arguments, environment, folder, open files and session that the new
interpreter would have. It runs the same code as `__main__`, exits as an interpreter
does, and is a child of the requesting process: signals, exit codes and process trees
are the same. Each fork has its own zygote for the processes that it spawns.

Decoders limit their memory, and must not hold torch. Decoders that the tests start in
their own process are forks of a second zygote, which has imported only what a decoder
needs.

A new interpreter is started where its imports matter: for decoders of commands; where
the environment configures Python or numeric libraries; and in tests marked
`own_process`.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import ctypes
import fcntl
import gc
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tests import huge_pages

ROOT = Path(__file__).resolve().parent.parent

# Read when Python or a library is loaded, so a fork would ignore them.
_READ_AT_START = (
    *("PYTHON", "LANG", "LC_", "TZ", "LD_", "MALLOC_", "MPL"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "NPY_", "NUMBA_"),
)
# The thread of pyarrow's allocator, which supports forks.
_STARTED_AGAIN = "jemalloc_bg_thd"
_SPAWNED = "--multiprocessing-fork"
# The arguments of execnet, by which pytest-xdist starts its workers.
_WORKER = ["-u", "-c", "import sys;exec(eval(sys.stdin.readline()))"]
_HIGH = 512
_MAX_MESSAGE = 1 << 20
_PR_SET_CHILD_SUBREAPER = 36
_DECODERS = "decoders"

_OURS = ("lookalike.", "lookalike_benchmarks.", "tests.faults.", "tests.programs.")

Command = Callable[[], None]


class Zygote:
    """A thread-safe connection to a zygote that is a child of this process."""

    def __init__(self, connection: socket.socket, process: subprocess.Popen[bytes] | None = None) -> None:
        self._connection = connection
        self._process = process
        self._lock = threading.Lock()

    @classmethod
    def started(cls, *what: str) -> Zygote:
        """Start an interpreter that imports everything, or for "decoders" what they need; forks wait for this."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.zygote", str(theirs.fileno()), *what]
            # OpenBLAS starts threads when it is loaded, and a process with threads must not be forked.
            environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        return cls(ours, process)

    @classmethod
    def of_decoders(cls) -> Zygote:
        return cls.started(_DECODERS)

    def close(self) -> None:
        """Stop the zygote; its forks continue."""
        self._connection.close()
        if self._process is not None:
            self._process.wait()

    def fork(self, request: dict[str, Any], files: dict[int, int]) -> int:
        """Return the process id of a fork that has this process's `files` under the given numbers."""
        message = json.dumps({**request, "files": list(files)}).encode()
        descriptors = array.array("i", files.values())
        with self._lock, _adopting():
            self._connection.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
            told = self._connection.recv(64)
        if not told:
            raise ChildProcessError("the zygote of the tests has ended")
        return int(told)


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Adopt orphans below this process as its children."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def install(start: Callable[[], Zygote], of_decoders: Callable[[], Zygote] | None = None) -> Callable[[], None]:
    """Make this process's commands and spawned processes forks of zygotes, which start on demand.

    Without a zygote of decoders, decoders are new interpreters. Returns a function that stops the zygotes.
    A worker that is a fork has a zygote already, and does not start another one.
    """
    if sys.platform != "linux":
        return lambda: None
    if is_fork():
        return _install(lambda: _inherited[0], of_decoders)
    return _install(start, of_decoders)


# The zygote of this process if it is a worker of pytest-xdist and a fork.
_inherited: list[Zygote] = []


def is_fork() -> bool:
    """Return True if this process is a worker of pytest-xdist that has been forked."""
    return bool(_inherited)


def _install(start: Callable[[], Zygote], of_decoders: Callable[[], Zygote] | None) -> Callable[[], None]:
    import _posixsubprocess
    from multiprocessing import popen_spawn_posix

    real = _posixsubprocess.fork_exec
    same_start = _at_start(dict(os.environ))
    _start_environment.update(same_start)
    launching = threading.local()
    starting = threading.Lock()
    zygotes: dict[Callable[[], Zygote], Zygote] = {}

    def zygote(begin: Callable[[], Zygote]) -> Zygote:
        with starting:
            if begin not in zygotes:
                zygotes[begin] = begin()
        return zygotes[begin]

    def fork_exec(args: Sequence[Any], executables: Any, close_fds: bool, kept: Sequence[int], *rest: Any) -> int:
        line = [os.fsdecode(argument) for argument in args]
        begin = start if _is_ours(line) else getattr(launching, "begin", None) if _SPAWNED in line else None
        (cwd, env, p2cread, _, _, c2pwrite, _, errwrite, _, errpipe, _, new_session, group, *identity) = rest[:18]
        environment = dict(os.environ) if env is None else _parsed(env)
        plain = close_fds and group == -1 and all(value in (None, -1) for value in identity)
        if not (begin and line[0] == sys.executable and plain and _enabled and _at_start(environment) == same_start):
            return int(real(args, executables, close_fds, kept, *rest))
        streams = (p2cread, c2pwrite, errwrite)
        files = {number: number if given == -1 else given for number, given in enumerate(streams)}
        request = {
            "arguments": line,
            "environment": environment,
            "folder": os.fspath(cwd or Path.cwd()),
            "new_session": new_session,
            "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        }
        files |= {number: number for number in kept if number != errpipe}
        try:
            return zygote(begin).fork(request, files)
        except (ChildProcessError, ConnectionError):
            # A worker can do without a zygote, for example to test the client where no more is installed.
            if line[1:] != _WORKER:
                raise
            return int(real(args, executables, close_fds, kept, *rest))

    launch = popen_spawn_posix.Popen._launch

    def launch_ours(popen: Any, process: Any) -> None:
        module = str(getattr(process._target, "__module__", ""))
        if module == "pebble.pool.process":
            launching.begin = of_decoders
        elif module.startswith("lookalike") or module == "concurrent.futures.process":
            launching.begin = start
        try:
            launch(popen, process)
        finally:
            launching.begin = None

    _posixsubprocess.fork_exec = fork_exec
    subprocess._fork_exec = fork_exec
    popen_spawn_posix.Popen._launch = launch_ours

    def end() -> None:
        for started in zygotes.values():
            started.close()

    return end


_enabled = True
_start_environment: dict[str, str] = {}


def restore_environment() -> None:
    """Restore the variables that are read at start, as they were when this was installed.

    A library may set some at its first use. From then on, every process would be a new interpreter.
    """
    for name in _at_start(dict(os.environ)).keys() - _start_environment.keys():
        del os.environ[name]
    os.environ.update(_start_environment)


@contextlib.contextmanager
def own_processes() -> Iterator[None]:
    """Start new interpreters for all processes while the block runs."""
    global _enabled
    _enabled = False
    try:
        yield
    finally:
        _enabled = True


def _is_ours(line: Sequence[str]) -> bool:
    return line[1:] == _WORKER or (line[1:2] == ["-m"] and f"{line[2]}.".startswith(_OURS))


def _parsed(environment: Sequence[bytes]) -> dict[str, str]:
    pairs = (entry.partition(b"=") for entry in environment)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def _at_start(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_START)}


def _serve(connection: socket.socket) -> Command | None:
    """Fork on request until the connection ends; return None then, and in each fork the command to run."""
    while True:
        try:
            message, received, _, _ = socket.recv_fds(connection, _MAX_MESSAGE, 64)
        except ConnectionError:
            return None
        if not message:
            return None
        reader, writer = os.pipe()
        between = os.fork()
        if between == 0:
            # Its child is orphaned immediately, so that the requesting process adopts it.
            child = os.fork()
            if child:
                os.write(writer, str(child).encode())
                os._exit(0)
            os.close(reader)
            os.close(writer)
            connection.close()
            return _become(json.loads(message), received)
        os.close(writer)
        for descriptor in received:
            os.close(descriptor)
        pid = os.read(reader, 64)
        os.close(reader)
        os.waitpid(between, 0)
        with contextlib.suppress(ConnectionError):
            connection.send(pid)


def _become(request: dict[str, Any], received: list[int]) -> Command:
    """Become the requested process, except for its imports; return the command to run."""
    if request["new_session"]:
        os.setsid()
    own_zygote = _own_zygote(received)
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH) for descriptor in received]
    for descriptor in received:
        os.close(descriptor)
    for descriptor, number in zip(high, request["files"], strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    _open_streams()
    os.environ.clear()
    os.environ.update(request["environment"])
    _read_environment_again()
    os.chdir(request["folder"])
    os.nice(max(0, request["niceness"] - os.getpriority(os.PRIO_PROCESS, 0)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _, *arguments = sys.orig_argv = request["arguments"]
    if arguments == _WORKER:
        _inherited.append(own_zygote)
        return _worker()
    _install(lambda: own_zygote, None)
    option, what, *arguments = arguments
    # `python -m` puts the folder first in sys.path, `python -c` an empty name.
    sys.path[0] = request["folder"] if option == "-m" else ""
    if _SPAWNED in arguments:
        return _spawned(request["arguments"])
    sys.argv = [what, *arguments]
    return lambda: runpy.run_module(what, run_name="__main__", alter_sys=True) and None


def _read_environment_again() -> None:
    """Make libraries that read the environment when imported use that of this process."""
    with contextlib.suppress(ImportError):
        from prometheus_client import values

        values.ValueClass = values.get_value_class()


def _open_streams() -> None:
    """Open the standard streams as an interpreter does at its start."""
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    for number, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        binary = open(number, "wb", closefd=False)  # noqa: SIM115
        lines = number == 2 or os.isatty(number)
        stream = io.TextIOWrapper(binary, "utf-8", errors, line_buffering=lines)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _spawned(line: list[str]) -> Command:
    """Run what `python -c` of a process runs that multiprocessing spawns."""
    code = line[line.index("-c") + 1]
    sys.argv = ["-c", _SPAWNED]
    return _program(code, {"__name__": "__main__"})


def _worker() -> Command:
    """Run what `python -c` runs for pytest-xdist; its tests share this module as `tests.zygote`."""
    sys.argv, sys.path[0] = ["-c"], ""
    sys.modules["tests.zygote"] = sys.modules["__main__"]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    return _program(_WORKER[-1], vars(main))


def _program(code: str, names: dict[str, Any]) -> Command:
    """Return a command that runs the code after `python -c`."""
    return lambda: exec(code, names)  # noqa: S102 - the code is that of multiprocessing or execnet


def _own_zygote(received: list[int]) -> Zygote:
    """Fork a zygote as a child of this process, which has neither threads nor files yet."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        for descriptor in received:
            os.close(descriptor)
        command = _serve(theirs)
        if command is None:
            os._exit(0)
        raise _Forked(command)
    theirs.close()
    return Zygote(ours)


class _Forked(BaseException):
    """Unwinds the frames of the zygotes above a fork."""

    def __init__(self, command: Command) -> None:
        self.command = command


def _import_everything() -> None:
    """Import the slow modules of commands and servers' processes."""
    import importlib
    import pkgutil

    import lookalike.cli
    import lookalike_indexer
    import lookalike_server

    names = [
        "lookalike_benchmarks.bookkeeping",
        "lookalike_benchmarks.scaling",
        "PIL.Image",
        "sklearn.cluster",
        "sklearn.manifold",
        "sklearn.metrics",
        "matplotlib.backends.backend_agg",
    ]
    for package in (lookalike, lookalike.cli, lookalike_indexer, lookalike_server):
        names += [found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    for name in names:
        if not name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # the extra may not be installed
                importlib.import_module(name)


def _import_decoders() -> None:
    import PIL.Image

    import lookalike_indexer.images.thumbnail_pool
    import lookalike_indexer.images.workers
    import lookalike_indexer.quality.measure_pool  # noqa: F401

    PIL.Image.init()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.argv[2:] == [_DECODERS]:
        _import_decoders()
    else:
        _import_everything()
    # Forks keep the imported objects until their exit: torch's would unregister thousands of operators then.
    for finalizer in list(weakref.finalize._registry):
        finalizer.atexit = False
    gc.collect()
    gc.freeze()
    huge_pages.use()
    threads = [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    if lost := [name for name in threads[1:] if name != _STARTED_AGAIN]:
        raise RuntimeError(f"imports have started threads that forks would lack: {', '.join(lost)}")
    try:
        command = _serve(socket.socket(fileno=int(sys.argv[1])))
    except _Forked as forked:
        command = forked.command
    if command is None:
        os._exit(0)
    _run(command)


def _run(command: Command) -> NoReturn:
    """Run a command and exit as an interpreter does, without tearing down imported modules."""
    code = 1
    try:
        command()
        code = 0
    except SystemExit as ended:
        code = _exit_code(ended.code)
    except KeyboardInterrupt:
        traceback.print_exc()
        code = -signal.SIGINT
    except BaseException:
        traceback.print_exc()
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        code = 120
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _exit_code(told: object) -> int:
    if isinstance(told, int):
        return told & 0xFF
    if told is not None:
        sys.stderr.write(f"{told}\n")
    return int(told is not None)


if __name__ == "__main__":
    main()
