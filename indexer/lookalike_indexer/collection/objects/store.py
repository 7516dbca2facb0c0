"""Object stores by URL, opened with the credentials of their own tools; errors become sentences."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lookalike_indexer.errors import IndexerError, NotFoundError, UsageError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_SCHEMES = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_RETRIES = 6
_RETRY_S = 60
_TIMEOUT_S = 30
# Endpoints on the loopback interface may be used without TLS: no data leaves the machine.
_LOOPBACK = re.compile(r"http://(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(?::\d+)?(?:/|$)")
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT")


@dataclass(frozen=True)
class StoreLocation:
    """A bucket and the prefix of all its objects' names."""

    store: ObjectStore
    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        return f"{self.bucket}/{self.prefix}".rstrip("/")

    def path(self, name: str) -> str:
        """Return the path within the bucket of an object below this prefix."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def name(self, path: str) -> str:
        """Return the name below this prefix of an object's path."""
        return path[len(self.prefix) + 1 :] if self.prefix else path


def is_url(location: str | os.PathLike[str]) -> bool:
    """Return whether a location is a URL rather than a path."""
    return "://" in str(location)


def open_location(url: str) -> StoreLocation:
    """Open the bucket of a URL such as s3://bucket/prefix, without a request to the store.

    Credentials come from the environment or the machine's role, as the store's own tools take them. Raise UsageError if
    the URL scheme is unknown, or the library is not installed.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise UsageError(f"{url} is not a location that Lookalike knows; give a folder, or {_known()}.")
    if not parts.netloc or parts.query or parts.fragment or parts.username:
        raise UsageError(
            f"{parts.scheme}://{parts.hostname or ''} is incomplete; write {parts.scheme}://BUCKET/PREFIX."
        )
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise UsageError(f"{parts.scheme}:// needs the package obstore: pip install 'lookalike[object]'.") from error
    bucket = f"{parts.scheme}://{parts.netloc}"
    options: dict[str, Any] = {"timeout": datetime.timedelta(seconds=_TIMEOUT_S)}
    if any(_LOOPBACK.match(os.environ.get(name, "")) for name in _ENDPOINTS):
        options["allow_http"] = True
    retry: Any = {"max_retries": _RETRIES, "retry_timeout": datetime.timedelta(seconds=_RETRY_S)}
    with store_errors(bucket, bucket):
        opened: Any = from_url
        store: Any = opened(bucket, client_options=options, retry_config=retry)
    prefix = "/".join(part for part in parts.path.split("/") if part)
    if ".." in prefix.split("/"):
        raise UsageError(f"{url} has '..' in its path; name the prefix itself.")
    return StoreLocation(store, bucket, prefix)


@contextmanager
def store_errors(name: str, location: str, *, missing: str = "") -> Iterator[None]:
    """Convert errors of a store to sentences without secrets.

    Raise NotFoundError if `name` does not exist. Raise IndexerError if the store refuses or cannot be reached.
    AlreadyExistsError of obstore passes through.
    """
    from obstore import exceptions

    try:
        yield
    except exceptions.AlreadyExistsError:
        raise
    except FileNotFoundError as error:
        raise NotFoundError(missing or f"{name} is missing from the collection.") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError) as error:
        raise _refused(name, location) from error
    except (exceptions.BaseError, OSError) as error:
        # The client distinguishes missing and refused objects, but not listings.
        if "403 Forbidden" in str(error) or "401 Unauthorized" in str(error):
            raise _refused(name, location) from error
        if "NoSuchBucket" in str(error) or "404 Not Found" in str(error):
            bucket = "/".join(location.split("/")[:3])
            raise NotFoundError(f"There is no bucket {bucket}; create it, or correct the name.") from error
        raise IndexerError(f"{name} cannot be reached: {_reason(error)}.") from error


def _refused(name: str, location: str) -> IndexerError:
    variables = _SCHEMES.get(urlsplit(location).scheme, "the environment")
    bucket = "/".join(location.split("/")[:3])
    return IndexerError(
        f"{bucket} refuses access to {name}; check the bucket's policy and the credentials in {variables}."
    )


def _reason(error: Exception) -> str:
    """Return the first line of an error, without URL queries, which may be signed."""
    text = str(error).partition("\n")[0]
    text = re.sub(r"\?[^\s)]*", "", text)
    return text[:240].rstrip(". ") or type(error).__name__


def _known() -> str:
    return ", ".join(f"{scheme}://" for scheme in _SCHEMES)
