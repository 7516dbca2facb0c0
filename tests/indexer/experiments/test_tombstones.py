"""No experiment, and no command that reads a folder, shows a deleted image."""

from __future__ import annotations
