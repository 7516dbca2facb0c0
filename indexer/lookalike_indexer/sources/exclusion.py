"""Patterns of paths that a source excludes."""

from __future__ import annotations

from collections.abc import Sequence

import pathspec

from lookalike_indexer.errors import UsageError

# Folders and files of thumbnails, recycle bins and the like, which file managers and storage devices add.
_DEFAULT_NAMES = frozenset(
    {"@eaDir", "#recycle", "@Recycle", "@Recently-Snapshot", "#snapshot", "$RECYCLE.BIN", "System Volume Information"}
    | {"__MACOSX", ".thumbnails", ".DS_Store", "Thumbs.db", "ehthumbs.db", "desktop.ini", "lost+found"}
)
DEFAULT_PATTERNS = tuple(sorted("\\" + name if name[0] == "#" else name for name in _DEFAULT_NAMES))


class Exclusion:
    """The default patterns and the user's, in gitignore syntax: the last match decides.

    `patterns` may include a default again with "!", such as "!lost+found".
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        """Compile the patterns. Raise UsageError if one of them is not valid gitignore syntax."""
        self.patterns = tuple(patterns)
        for pattern in self.patterns:
            if "\n" in pattern:
                raise UsageError(f"--exclude {pattern!r} has several lines; give each pattern its own --exclude.")
            try:
                pathspec.GitIgnoreSpec.from_lines([pattern])
            except ValueError as error:
                raise UsageError(f"--exclude {pattern!r} is not a pattern of gitignore syntax; correct it.") from error
        self._spec = pathspec.GitIgnoreSpec.from_lines([*DEFAULT_PATTERNS, *self.patterns])

    def excludes(self, path: str, name: str, is_folder: bool = False) -> bool:
        """Return whether to leave out the path, relative to the source's root; `name` is its last component."""
        if not self.patterns:
            return name in _DEFAULT_NAMES
        return bool(self._spec.match_file(f"{path}/" if is_folder else path))

    def excludes_member(self, path: str) -> bool:
        """Return the same for a member of an archive: excluding a folder excludes its members, which are listed without
        it.
        """
        parts = path.split("/")
        folders = ("/".join(parts[:end]) for end in range(1, len(parts)))
        return any(self.excludes(folder, folder.rpartition("/")[2], True) for folder in folders) or self.excludes(
            path, parts[-1]
        )
