"""Take the defects away from every defective image of a folder, under the same names.

    python examples/judge/restore.py DATA OUT [--model DIR] [--device auto]

DATA is a folder <product>/<class>/*; written are OUT/<product>/<class>/NAME.png, which
examples/judge/restoration.py compares with the images themselves.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from defectaug import load_model, transfer
from defectaug.data.index import index_folder
from defectaug.errors import DefectaugError


def main() -> None:
    """Parse, restore image after image, print the number."""
    parser = argparse.ArgumentParser(description="Restore every defective image of a folder.")
    parser.add_argument("data", type=Path, help="folder <product>/<class>/*")
    parser.add_argument("out", type=Path, help="folder to write; files that are there are refused")
    parser.add_argument("--model", type=Path, help="model folder (default: the newest under ./models)")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    try:
        index = index_folder(options.data)
        model = load_model(options.model, device=options.device)
        defective = [sample for sample in index.samples if sample.defect != index.normal]
        for sample in defective:
            target = options.out / sample.product / sample.defect / f"{sample.path.stem}.png"
            # With the normal class as the defect, the reference is not looked at
            transfer(sample.path, sample.path, model=model, defect=model.info.normal, out=target)
    except DefectaugError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    print(f"{len(defective)} images restored in {options.out}")


if __name__ == "__main__":
    main()
