"""Trains the default recipe on each set, without any setting, and prints one table of what came of it.

    python examples/battery/run.py SETS_ROOT [--sets A B ...] [--out DIR] [--preset NAME] [--quick]

A set is a folder SET/train/<product>/<class>, SET/test/..., with true masks in SET/train.masks and SET/test.masks. Run
it again after an interruption: finished rows and trainings are kept. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from make import Settings, material, read_json, same_settings, trained, write_json
from measures import Row, rows
from pages import file_name, grid, markdown, page

from defectaug.cli.failures import Session, guard
from defectaug.errors import DataError, DefectaugError
from defectaug.io.atomic import write_atomic


def main() -> None:
    """Parse, then one set after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of sets")
    parser.add_argument("--sets", nargs="+", metavar="SET", help="some of them (default: all)")
    parser.add_argument("--out", type=Path, default=Path("out/battery"), help="(default: out/battery)")
    parser.add_argument("--preset", default="auto", help="recipe (default: the package's)")
    parser.add_argument("--quick", action="store_true", help="64 pixels, 200 steps, fewer images; for orientation")
    parser.add_argument("--steps", type=int, help="length of the trainings (default: the recipe's)")
    parser.add_argument("--n", type=int, help="synthetic images a category (default: 60)")
    parser.add_argument("--models", type=Path, metavar="DIR", help="measure DIR/SET, which are trained already")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args()
    if min(options.steps or 1, options.n or 1) < 1:
        parser.error("--steps and --n must be 1 or more")
    preset = f"of the models in {options.models}" if options.models else options.preset
    settings = Settings.quick(preset) if options.quick else Settings(preset)
    given = {name: getattr(options, name) for name in ("steps", "n") if getattr(options, name) is not None}
    settings = replace(settings, **given)
    if options.models:
        settings = replace(settings, image_size=None, steps=None)  # nothing is trained
    raise SystemExit(guard(lambda: battery(options, settings), Session(debug=options.debug)))


def battery(options: argparse.Namespace, settings: Settings) -> None:
    """All sets; the table is written anew after each. One that cannot be measured does not keep the others waiting.

    Raises:
        DataError: a set could not be measured; the table holds the others.
    """
    names, out, failed = find_sets(options.root, options.sets), options.out, []
    same_settings(out, settings)
    for name in names:
        if read_json(out / name / "rows.json") is not None:
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            measure(options.root / name, out / name, settings, options.models)
        except DefectaugError as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            failed.append(name)
        summarise(out)
    print(summarise(out), end="")
    if failed:
        raise DataError(f"{options.root}: {', '.join(failed)} could not be measured; the reasons are above")


def find_sets(root: Path, asked: Sequence[str] | None) -> list[str]:
    """Names of the sets of a folder.

    Raises:
        DataError: there are none, or one that was asked for is not there.
    """
    known = sorted(path.parent.name for path in root.glob("*/train") if (path.parent / "test").is_dir())
    lacking = [name for name in asked or () if name not in known]
    if lacking or not known:
        raise DataError(f"{root / (lacking or ['SET'])[0]}: no such set (folders train and test are needed)")
    return list(asked or known)


def measure(data: Path, out: Path, settings: Settings, models: Path | None) -> None:
    """Trains on a set unless that is done, measures, draws its grids; rows.json is written last."""
    spent: Row = {} if models else trained(data / "train", out, settings)
    found, rate, classifier = material(data, models / data.name if models else out / "model", out, settings)
    cost: Row = {"images/s": rate}
    if spent:
        cost |= {"training (min)": spent["seconds"] / 60}
    if spent.get("peak bytes"):
        cost |= {"memory (GB)": spent["peak bytes"] / 1e9}
    measured = {name: {**row, **cost} for name, row in rows(found).items()}
    for name in measured:
        picture = grid(found, name)
        write_atomic(out / file_name(name), lambda file, picture=picture: picture.save(file, format="PNG"))
    write_json(out / "rows.json", {"classifier": classifier, "rows": measured})


def summarise(out: Path) -> str:
    """Writes table.md, table.json and index.html from the rows that are finished; returns the table."""
    finished = {path.parent.name: read_json(path) for path in sorted(out.glob("*/rows.json"))}
    results = {name: some["rows"] for name, some in finished.items()}
    settings = read_json(out / "settings.json")
    size = ", ".join(f"{key} {value}" for key, value in settings.items() if value is not None)
    classifiers = sorted({some["classifier"] for some in finished.values()})
    table = markdown(results, f"Settings: {size}. Classifier: {'; '.join(classifiers)}.")
    write_json(out / "table.json", {"settings": settings, "classifiers": classifiers, "sets": results})
    for name, text in (("table.md", table), ("index.html", page(results, table, out))):
        write_atomic(out / name, lambda file, text=text: file.write(text.encode()))
    return table


if __name__ == "__main__":
    main()
