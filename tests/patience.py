"""Time limits of servers under test.

A machine that others use stands still for seconds now and then. A server under
test therefore waits for ten times as long as by default before it refuses a
call or replaces a process. A test of a time limit sets that limit itself.
"""

from __future__ import annotations

PATIENT_LIMITS = {"max_queue_ms": 60_000, "max_slow_queue_ms": 300_000, "max_silence_ms": 100_000}

# The same for servers that tests start as processes.
PATIENT_ENVIRONMENT = {f"LOOKALIKE_SERVE_{name.upper()}": str(value) for name, value in PATIENT_LIMITS.items()}
