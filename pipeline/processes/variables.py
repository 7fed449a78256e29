"""Variables of the environment that a library replaces by values of its own where it cannot read them."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

#: Variables of numba's that LLVM reads: for a value it does not know it writes a line at every kernel, or aborts.
#: Each with LLVM's name of it and a value that it knows.
OF_LLVM = {"NUMBA_CPU_NAME": ("cpu", "generic"), "NUMBA_CPU_FEATURES": ("features", "+avx2")}

ASK_LLVM = """
import sys, llvmlite.binding as llvm
try:
    llvm.initialize_native_target()
except RuntimeError:  # of versions that need none
    pass
llvm.Target.from_default_triple().create_target_machine(**{sys.argv[1]: sys.argv[2]})
"""


def numba_is_strict() -> None:
    """Values of ``NUMBA_…`` that numba refuses are errors in this process, not a warning of several lines."""
    warnings.filterwarnings("error", "Environment variable 'NUMBA_.*' is defined but")


def refused_by_llvm(name: str) -> str:
    """What LLVM says against the value of one of ``OF_LLVM``, empty where it takes it; asked in a process, for it may abort."""
    value = os.environ.get(name, "")
    if not value:
        return ""
    asked = subprocess.run(
        [sys.executable, "-c", ASK_LLVM, OF_LLVM[name][0], value], capture_output=True, text=True, errors="replace"
    )
    if asked.returncode < 0:
        return "LLVM aborts"
    lines = [line for line in asked.stderr.splitlines() if "not a recognized" in line]
    return lines[0][:200] if lines else ""
