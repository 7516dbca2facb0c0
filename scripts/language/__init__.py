"""Language checks of `make lint`; see CONTRIBUTING.md, "How to write".

prose.py extracts the prose of a file, checks.py checks it, words.toml has the project's words.
"""
