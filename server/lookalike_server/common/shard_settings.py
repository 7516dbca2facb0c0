"""Settings of a router: a TOML file that names the replicas of each shard."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike_indexer.errors import UsageError
from lookalike_server.common.peers import is_loopback

_KEYS = {"shard", "collection", "timeout_ms", "hedge_ms", "ca", "cert", "key", "token_file", "insecure"}


@dataclass(frozen=True)
class ShardSettings:
    """Shard servers of a router: `replicas[i]` are the addresses, HOST:PORT, of shard i + 1.

    They know the collection as `collection`, "" for their first one. A search that no replica
    answers within `timeout_ms` fails. If one has not answered for `hedge_ms`, another replica is
    asked too; 0 disables this. With `ca`, connections are encrypted, and `cert` and `key` are the
    client certificate. `token_file` holds the token for the shards.
    """

    replicas: tuple[tuple[str, ...], ...]
    collection: str = ""
    timeout_ms: int = 10_000
    hedge_ms: int = 1_000
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    token_file: Path | None = None


def read_shards(path: Path) -> ShardSettings:
    """Return the shard servers that a file names.

    Raises UsageError if the file cannot be read, or is not as docs/scale.md describes.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--shards {path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--shards {path} is not TOML: {error}.") from error
    unknown = sorted(table.keys() - _KEYS)
    if unknown:
        raise UsageError(
            f"--shards {path}: {unknown[0]} is not a setting; the settings are: {', '.join(sorted(_KEYS))}."
        )
    replicas = _replicas(path, table.get("shard"))
    settings = ShardSettings(
        replicas,
        _text(path, table, "collection") or "",
        _number(path, table, "timeout_ms", 10_000, 1),
        _number(path, table, "hedge_ms", 1_000, 0),
        *(_file(path, table, name) for name in ("ca", "cert", "key", "token_file")),
    )
    if (settings.cert is None) != (settings.key is None) or (settings.cert and not settings.ca):
        raise UsageError(f"--shards {path}: cert and key need each other, and ca.")
    insecure = table.get("insecure", False)
    if not isinstance(insecure, bool):
        raise UsageError(f"--shards {path}: insecure is {insecure!r}; it must be true or false.")
    others = [one for shard in replicas for one in shard if not is_loopback(one.rpartition(":")[0].strip("[]"))]
    if others and settings.ca is None and not insecure:
        raise UsageError(
            f"--shards {path}: {others[0]} is a remote machine, so configure TLS: give ca, the certificate of its "
            "authority; or insecure = true if the network is trusted."
        )
    return settings


def _replicas(path: Path, shards: Any) -> tuple[tuple[str, ...], ...]:
    if not isinstance(shards, list) or not shards or not all(isinstance(one, dict) for one in shards):
        raise UsageError(f"--shards {path}: the file names no shard; write a table [[shard]] with replicas for each.")
    found: list[tuple[str, ...]] = []
    for number, shard in enumerate(shards, 1):
        addresses = shard.get("replicas")
        right = isinstance(addresses, list) and addresses and all(_is_address(one) for one in addresses)
        if not right or shard.keys() != {"replicas"}:
            raise UsageError(
                f'--shards {path}: shard {number} must have only replicas, a list such as ["10.0.0.1:50051"].'
            )
        found.append(tuple(addresses))
    known = [one for shard in found for one in shard]
    twice = next((one for one in known if known.count(one) > 1), None)
    if twice:
        raise UsageError(f"--shards {path}: {twice} is listed twice; a server is one replica of one shard.")
    return tuple(found)


def _is_address(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    host, _, port = value.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) <= 65535


def _text(path: Path, table: dict[str, Any], name: str) -> str | None:
    value = table.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise UsageError(f"--shards {path}: {name} is {value!r}; it must be a string.")
    return value


def _file(path: Path, table: dict[str, Any], name: str) -> Path | None:
    value = _text(path, table, name)
    if value is None:
        return None
    file = path.absolute().parent / value
    if not file.is_file():
        raise UsageError(f"--shards {path}: {name}: there is no file {file}.")
    return file


def _number(path: Path, table: dict[str, Any], name: str, default: int, least: int) -> int:
    value = table.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"--shards {path}: {name} is {value!r}; it must be an integer of at least {least}.")
    return value
