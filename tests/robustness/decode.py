"""Decodes mutated files in a process of its own, whose memory is limited: `python decode.py COUNT SEED`.

Prints one JSON line: how many were read and refused, the most memory and processor time, and what was wrong.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from corpus import mutants

from defectaug.errors import DataError
from defectaug.io.images import MAX_PIXELS, probe, read_image

BOUND = 16 * MAX_PIXELS + (512 << 20)  # what the decoder may take, and Python with NumPy and Pillow
SECONDS = 5.0  # processor time for one file


def decode(path: Path) -> str:
    """ "read", "refused", or what was wrong."""
    try:
        probe(path)
        pixels = read_image(path).pixels
    except DataError as error:
        return "refused" if "\n" not in str(error) and str(path) in str(error) else f"message {error!r}"
    except BaseException:
        return traceback.format_exc()
    return "read" if pixels.size and pixels.dtype.name in ("uint8", "uint16") else f"pixels {pixels.dtype}"


def main(count: int, seed: int) -> dict[str, Any]:
    resource.setrlimit(resource.RLIMIT_AS, (BOUND, BOUND))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(600)  # a hang ends the process, which the caller sees
    warnings.simplefilter("ignore")
    outcomes: Counter[str] = Counter()
    slowest, faults = 0.0, []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, content) in enumerate(mutants(count, seed)):
            path = Path(folder) / name
            path.write_bytes(content)
            start = time.process_time()
            outcome = decode(path)
            took = time.process_time() - start
            slowest = max(slowest, took)
            if outcome not in ("read", "refused") or took > SECONDS:
                faults.append(f"mutant {number} of seed {seed}, from {name}, {took:.1f} s: {outcome}")
                outcome = "fault"
            outcomes[outcome] += 1
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {**outcomes, "megabytes": round(memory), "slowest": round(slowest, 2), "faults": faults[:20]}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
