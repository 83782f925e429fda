"""The environment of processes that a measurement starts: they import what this process imports, installed or not.

    subprocess.run([sys.executable, "-m", "mm1.…"], env=environment(OMP_NUM_THREADS="1"))

Knows nothing of what they do.
"""

from __future__ import annotations

import os
import sys


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with `changes`; its `sys.path`, as it is now, goes along as PYTHONPATH."""
    # The empty entry of `python -c` means the working folder, which may be another one there.
    return {**os.environ, **changes, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
