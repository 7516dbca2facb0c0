"""Error classes, as one tree.

    IndexerError                     exit code 1
    ├── UsageError                   a wrong argument or setting; exit code 2
    ├── NotFoundError                no such image, space, clustering, file or folder
    ├── NotBuiltError                the collection lacks what is needed
    ├── MismatchError                two things that must agree do not; the message names both
    ├── DataLossError                stored bytes are not what was written
    ├── DecodeError                  an image that cannot be read; becomes a row of rejects
    ├── WeightsError                 weights that are missing, or do not fit the network
    ├── DeviceError                  a device that does not exist, is lost, or cannot do it
    └── CollectionLockedError        another process is writing to the collection

Each message is one sentence for the person who can fix the problem: it names
the thing and says what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

DecodeErrorKind = Literal["missing", "unreadable", "timeout", "crashed", "limit", "changed", "damaged"]


class IndexerError(Exception):
    """The base class of all errors that the indexer and the server raise on purpose."""


class UsageError(IndexerError):
    """A wrong argument or setting."""


class NotFoundError(IndexerError):
    """No such image, space, clustering, file or folder."""


class NotBuiltError(IndexerError):
    """The collection lacks what is needed, such as an index."""


class MismatchError(IndexerError):
    """Two things that must agree do not."""


class DataLossError(IndexerError):
    """Stored bytes are not what was written."""


class DecodeError(IndexerError):
    """An image that cannot be read, or a text that has no embedding.

    `kind` classifies the reason. Every kind except "damaged" may pass, so that a later run can try again. `position` is
    that of the image or text among several; then the message begins with "Image POSITION " or "Text POSITION ".
    """

    def __init__(self, message: str, *, kind: DecodeErrorKind = "damaged", position: int | None = None) -> None:
        super().__init__(message)
        self.kind: DecodeErrorKind = kind
        self.position = position

    def at_position(self, position: int) -> DecodeError:
        """Return the same error for the image at another position, as when it was sent with others."""
        what, _, rest = str(self).partition(f" {self.position} ")
        message = f"{what} {position} {rest}" if what in ("Image", "Text") else str(self)
        return DecodeError(message, kind=self.kind, position=position)

    def __reduce__(self) -> tuple[Callable[..., DecodeError], tuple[object, ...]]:
        # Needed to keep the kind when the error is pickled across a process boundary.
        return partial(DecodeError, kind=self.kind, position=self.position), self.args


class WeightsError(IndexerError):
    """Weights that are missing, or do not fit the network."""


class DeviceError(IndexerError):
    """A device that does not exist, is lost, or does not support the operation."""


class CollectionLockedError(IndexerError):
    """Another process is writing to the collection."""
