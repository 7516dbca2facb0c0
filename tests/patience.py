"""Time limits of servers under test.

A shared machine sometimes stalls for seconds. A server under test therefore waits ten
times as long as by default before it rejects a call or replaces a process. A test of a
time limit sets that limit itself.
"""

from __future__ import annotations

PATIENT_LIMITS = {"max_queue_ms": 60_000, "max_slow_queue_ms": 300_000, "max_silence_ms": 100_000}

# The same limits for servers that tests start as processes.
PATIENT_ENVIRONMENT = {f"LOOKALIKE_SERVE_{name.upper()}": str(value) for name, value in PATIENT_LIMITS.items()}
