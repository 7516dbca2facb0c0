"""`python -m tests.faults --count 500`: inject faults and report what became of the collections."""

import os
import sys

# Before numpy, torch and faiss are loaded: a process that forks must have no threads.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

from tests.faults.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
