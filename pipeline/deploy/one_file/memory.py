"""A program of its own: what an ONNX file takes in memory. ``python memory.py FILE SAMPLES`` prints a JSON object, in MiB.

It imports nothing of the project, so that the process holds numpy and onnxruntime alone. Only Linux says what it asks.
"""

import json
import sys
from contextlib import suppress
from pathlib import Path


def mebibytes(key: str) -> float:
    """``key`` of this process, as the system tells it."""
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) / 1024


def main(model: str, samples: int) -> None:
    import numpy as np
    import onnxruntime

    sound = np.random.default_rng(0).standard_normal((1, samples), np.float32) * np.float32(0.1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before = mebibytes("VmRSS:")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    for _ in range(3):
        session.run(None, {"samples": sound})
    peak = mebibytes("VmHWM:")
    print(json.dumps({"process": round(peak, 1), "session_and_run": round(peak - before, 1)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
