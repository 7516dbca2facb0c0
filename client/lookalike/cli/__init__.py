"""The `lookalike` command line.

Commands are found through the entry points of the group "lookalike.commands", so this package depends on
neither the indexer nor the server.

    _run.py, _commands.py        run a command, load commands on demand; _catalog.py has their summaries
    _options.py                  options for the server, and common ones
    _search_options.py           options of a search; _fields.py: filters and columns; _class_map.py: --class-map
    _settings_file.py            defaults from lookalike.toml
    _collection_folder.py        choose between a folder and a server
    _subject.py, _fetch.py       the query: a file, key, text, standard input or URL
    search.py, clusters.py       queries of a server
    images.py, info.py, results.py   lists and descriptions, of a folder or a server
    _served_analyses.py          analyses by a server; _experiment_text.py prints them
    reload.py, explore.py, completion.py   administration, the web page, shell completion
    _text.py                     tables, JSON, and the line about the server's reply
    _montage.py, _draw.py, _letters.py   images of results

Every command prints one sentence for an error.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and exit: 0 success, 1 failure, 2 wrong usage, 130 interrupted."""
    # gRPC's core logs to standard error, between our messages. It reads this variable on first use.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from lookalike.cli._run import run

        sys.exit(run())
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.stderr.write("Error: the command line needs the package click: pip install 'lookalike[cli]'\n")
        sys.exit(1)
