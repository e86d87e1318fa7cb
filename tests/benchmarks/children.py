"""What is measured in a process of its own; prints a JSON object.

`python children.py index DIR`, `python children.py network MODEL DATA N OUT`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

METHODS = ("latent_codes", "reference_codes", "with_style", "source_features", "paint_on", "shows")


def index(root: str) -> dict[str, float]:
    """Seconds of the list of files and of reading every header, and what memory grows by."""
    from defectaug.data.index import index_folder
    from defectaug.data.survey import survey

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

    before, start = peak(), time.perf_counter()
    found = index_folder(root)
    seconds, memory = time.perf_counter() - start, peak() - before
    survey(found)
    return {
        "images": len(found),
        "index": seconds,
        "index_memory": memory,
        "survey": time.perf_counter() - start - seconds,
        "survey_memory": peak() - before,
    }


def network(model: str, data: str, count: str, out: str) -> dict[str, float]:
    """Seconds of a synthesis without start-up, and of the model's own methods in it."""
    import torch

    import defectaug

    class Timed:
        """A model whose methods are timed."""

        spent = 0.0

        def __init__(self) -> None:
            self.model = defectaug.load_model(model)

        def __getattr__(self, name: str) -> Any:
            found = getattr(self.model, name)
            return self.timed(found) if name in METHODS else found

        def timed(self, method: Any) -> Any:
            def call(*arguments: Any, **named: Any) -> Any:
                start = time.perf_counter()
                result = method(*arguments, **named)
                if self.model.device.type == "cuda":
                    torch.cuda.synchronize()
                self.spent += time.perf_counter() - start
                return result

            return call

    timed = Timed()
    done = defectaug.synthesize(model=timed, source=data, n=int(count), product="A", out=out)
    return {"seconds": done.seconds, "network": timed.spent}


if __name__ == "__main__":
    print(json.dumps({"index": index, "network": network}[sys.argv[1]](*sys.argv[2:])))
