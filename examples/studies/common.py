"""What the studies share: options, held-out images, synthetic sets, models, and the two files that each leaves."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from defectaug.benchmark.settings import StudySettings
from defectaug.cli.failures import Session, guard
from defectaug.cli.progress import Progress
from defectaug.data.index import DataIndex, index_folder
from defectaug.data.sample import Sample
from defectaug.errors import ConfigError, OutputError
from defectaug.reporting.sections import Table, plain, show

SIDE, GAP = 128, 4  # pixels of a picture's images
RECORD = ".defectaug-run.json"  # lies in a folder whose synthesis is not finished


def parser(text: str | None) -> argparse.ArgumentParser:
    """The options that every study has."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("data", type=Path, help="folder of real images, in any layout that defectaug understands")
    made.add_argument("--test", type=Path, metavar="DIR", help="other real images to test on (else 30 % of DATA)")
    made.add_argument("--model", type=Path, metavar="DIR", help="trained model that makes the synthetic images")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for all that the study leaves")
    made.add_argument("--slim", action="store_true", help="for two CPU cores; the default without a GPU")
    made.add_argument("--full", action="store_true", help="the paper's size, for a GPU; the default with one")
    made.add_argument("--classifier", metavar="NAME", help="efficientnet-lite1, or torchvision's or timm's")
    made.add_argument("--weights", metavar="FILE|DIR|none", help="weights that the classifier starts with")
    made.add_argument("--steps", type=int, metavar="N", help="steps of each training of a classifier")
    made.add_argument("--image-size", type=int, metavar="S", help="side that images are squeezed to (default 128)")
    made.add_argument("--seeds", type=int, default=5, metavar="N", help="trainings of each kind (default 5)")
    made.add_argument("--real-share", type=float, metavar="X", help="least share of real images drawn from a category")
    made.add_argument("--reversal", type=float, metavar="X", help="weight of the real-or-synthetic head; 0: none")
    made.add_argument(
        "--per-category", "--per-cell", type=int, metavar="N", help="synthetic images of each product and defect"
    )
    made.add_argument("--seed", type=int, default=0, help="of split and synthesis")
    made.add_argument("--device", default="auto")
    made.add_argument("--map", type=Path, metavar="FILE", help="class map for DATA and --test")
    made.add_argument("--normal", metavar="NAME", help="name of the folder of normal images")
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made


def control_option(made: argparse.ArgumentParser) -> None:
    """The option of a study that has the control."""
    made.add_argument("--control", action="store_true", help="also training defects, cut out and pasted")
    made.add_argument("--control-draws", type=int, default=1, metavar="N", help="draw the control N times")


def control_of(options: argparse.Namespace, model: Path | None) -> Any:
    """What gives the masks of real defects for the control, by the images' own masks or by the model; None without."""
    from defectaug.bundle import load_model
    from defectaug.metrics.changes import mask_finder
    from defectaug.metrics.images import ImageStore

    if not options.control:
        return None
    loaded: Any = None if model is None else load_model(model, options.device)
    return mask_finder(ImageStore(), loaded)


def training_options(made: argparse.ArgumentParser) -> None:
    """The options of a study that trains models."""
    text = "length of each training, or of the models that are named (default: the recipe's)"
    made.add_argument("--training-steps", type=lengths, metavar="N|NAME=N,...", default={}, help=text)
    made.add_argument("--minutes", type=float, metavar="M", help="the same in minutes")


def lengths(text: str) -> dict[str, int]:
    """Steps by the model's name: "750" is for all, as "", but those named in "750,paper=1500"."""
    parts = [entry.rpartition("=") for entry in text.split(",")]
    return {name: int(steps) for name, _, steps in parts}


def main(study: Callable[[argparse.Namespace], object], options: argparse.Namespace) -> None:
    """Runs a study; errors become one line, Ctrl-C exit code 130."""
    sys.exit(guard(lambda: study(options) and None, Session(debug=options.debug)))


def log(line: str) -> None:
    """A line for the user, on standard error."""
    print(line, file=sys.stderr, flush=True)


def settings_of(options: argparse.Namespace, **changes: Any) -> StudySettings:
    """The study's settings: slim or full, and what the options change."""
    base = StudySettings.slim() if is_slim(options) else StudySettings.full()
    names = ("classifier", "weights", "steps", "image_size", "real_share", "reversal")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    given |= {"control_draws": options.control_draws} if "control_draws" in options else {}
    fixed = {"seeds": tuple(range(options.seeds)), "split_seed": options.seed, "device": options.device}
    return replace(base, **(fixed | given | changes))


def is_slim(options: argparse.Namespace) -> bool:
    """Whether two CPU cores have to do: as --slim or --full says, else where there is no GPU."""
    from defectaug.device import choose

    if options.slim and options.full:
        raise ConfigError("--slim and --full: give one of them")
    return options.slim or not (options.full or choose(options.device).device.type == "cuda")


def real_images(options: argparse.Namespace) -> tuple[DataIndex, DataIndex]:
    """Images to train on and to test with. Without --test, DATA is parted once, into OUT/real and OUT/test."""
    from defectaug.data.splits import split

    if options.test is not None:
        return tuple(  # type: ignore[return-value]
            index_folder(folder, class_map=options.map, normal=options.normal)
            for folder in (options.data, options.test)
        )
    parts = (options.out / "real", options.out / "test")
    if not (options.out / "parted").exists():
        index = index_folder(options.data, class_map=options.map, normal=options.normal)
        parted = split(index, {"train": 0.7, "test": 0.3}, options.seed)
        own = tuple(
            replace(drawn, split="test" if sample.split == "test" else "train") if sample.split else drawn
            for sample, drawn in zip(index.samples, parted.samples, strict=True)
        )  # the data set's own split comes first
        parted = replace(parted, samples=own)
        for name, part in zip(("train", "test"), parts, strict=True):
            link(parted.only(name), part)
        (options.out / "parted").write_text(f"{options.data.resolve()}\n", encoding="utf-8")
    if (options.out / "parted").read_text(encoding="utf-8").strip() != str(options.data.resolve()):
        raise OutputError(f"{options.out}: holds a study of other data; name another folder with --out")
    return index_folder(parts[0]), index_folder(parts[1])


def reading(index: DataIndex, options: argparse.Namespace) -> dict[str, Any]:
    """How the classes of a folder are read: as the options say for DATA, while folders made here have final names."""
    return {"class_map": options.map, "normal": options.normal} if index.root == options.data.expanduser() else {}


def link(index: DataIndex, root: Path) -> Path:
    """The images of an index as ROOT/<product>/<defect>/*, masks beside them: hard links, or copies."""
    for sample in index.samples:
        name = "_".join(sample.path.relative_to(index.root).with_suffix("").parts)
        defect = "normal" if sample.defect == index.normal else sample.defect
        folder = root / sample.product / defect
        folder.mkdir(parents=True, exist_ok=True)
        link_file(sample.path, folder / f"{name}{sample.path.suffix}")
        if sample.mask is not None:
            link_file(sample.mask, folder / f"{name}_mask{sample.mask.suffix}")
    return root


def references(index: DataIndex, products: Sequence[str], root: Path) -> Path:
    """The defective images of some products, as a folder of references."""
    if not root.exists():
        wanted = index.where(lambda sample: sample.product in products and sample.defect != index.normal)
        part = link(wanted, root.with_name(f".{root.name}.part"))
        part.rename(root)
    return root


def trained(
    name: str, data: DataIndex, options: argparse.Namespace, preset: str, config: Path | None = None
) -> Path:
    """A model of OUT/models, trained if it is not there; an interrupted training is gone on with.

    Raises:
        OutputError: it was trained otherwise than is asked for now.
    """
    import defectaug

    folder = options.out / "models" / name
    done = folder.with_name(f"{name}.done")
    asked = {"preset": preset, "config": config and config.name, "seed": options.seed}
    steps = options.training_steps.get(name, options.training_steps.get(""))
    asked |= {"steps": steps, "minutes": options.minutes, "image_size": None}  # folders of before name a size
    line = json.dumps(asked) + "\n"
    if done.exists() and done.read_text(encoding="utf-8") != line:
        raise OutputError(f"{folder}: was trained with other settings; name another folder with --out")
    if not done.exists():
        with Progress(f"train {name}", unit="step") as progress:
            defectaug.train(
                data.root,
                out=folder,
                preset=preset,
                config=config,
                steps=steps,
                minutes=options.minutes,
                resume=(folder / "state").is_dir(),
                seed=options.seed,
                device=options.device,
                log=progress.log,
                progress=progress,
                **reading(data, options),
            )
        done.write_text(line, encoding="utf-8")
    return folder


def synthetic(
    model: Path,
    index: DataIndex,
    options: argparse.Namespace,
    *,
    name: str = "",
    only: Sequence[str] | None = None,
    **how: Any,
) -> list[Path]:
    """New images of every category, one folder a defect, made once and then kept.

    Args:
        model: the bundle.
        index: its normal images are painted on.
        options: `per_category` images a category; default as many as the fullest real category has, at most 500.
        name: of the set, below OUT/synthetic.
        only: the defects to make; None: all that the model knows.
        how: further arguments of `synthesize`, such as `reference` and `product`.
    """
    import defectaug

    loaded = defectaug.load_model(model, options.device)
    count = options.per_category or min(500, max(index.counts().values()))
    base = options.out / "synthetic" / (name or model.resolve().name)
    folders = []
    for defect in (one for one in loaded.info.defects if one != loaded.info.normal and one in (only or [one])):
        out = base.with_name(f"{base.name}-{loaded.info.weights_sha256[:8]}-{count}-{options.seed}") / defect
        if not (out / "manifest.jsonl").exists() or (out / RECORD).exists():
            with Progress(f"synthesize {out.parent.name} {defect}") as progress:
                defectaug.synthesize(
                    model=loaded,
                    source=index.root,
                    defect=defect,
                    n=count,
                    out=out,
                    seed=options.seed,
                    progress=progress,
                    log=progress.log,
                    **reading(index, options),
                    **how,
                )
        folders.append(out)
    return folders


def needs_model(options: argparse.Namespace) -> Path:
    """The model that was named.

    Raises:
        ConfigError: none was.
    """
    if options.model is None:
        raise ConfigError("--model DIR: name the trained model that makes the synthetic images")
    return options.model


def study(
    real: DataIndex, sets: Mapping[str, Sequence[Path]], settings: StudySettings, test: DataIndex,
    options: argparse.Namespace, models: Sequence[Path] = (), control: Any = None,
) -> Any:  # fmt: skip
    """`run_study` with progress; finished trainings are kept in OUT/cache. `control` gives masks of real defects."""
    from defectaug.benchmark.api import run_study

    with Progress("study", unit="step") as progress:
        return run_study(
            real, sets, settings,
            test=test, cache=options.out / "cache", models=models, control=control, progress=progress, log=progress.log,
        )  # fmt: skip


def write(name: str, options: argparse.Namespace, title: str, lines: Sequence[str], tables: Sequence[Table],
          numbers: Mapping[str, Any]) -> None:  # fmt: skip
    """Leaves OUT/NAME.json and OUT/NAME.md, and prints the latter."""
    from defectaug.io.images import write_atomic

    command = shlex.join(["python", *sys.argv])
    text = [f"# {title}", *lines]
    for table in tables:
        text += [f"**{table.title}**", markdown(table), *([table.note] if table.note else [])]
    text += [f"`{command}`", machine(options.device)]
    content = "\n\n".join(text) + "\n"
    whole = {"command": command, "machine": machine(options.device), "title": title, "lines": list(lines)}
    whole |= {"tables": [plain(table) for table in tables], **numbers}
    encoded = (json.dumps(plain(whole), indent=1, ensure_ascii=False) + "\n").encode()
    write_atomic(options.out / f"{name}.md", lambda file: file.write(content.encode()))
    write_atomic(options.out / f"{name}.json", lambda file: file.write(encoded))
    print(content, end="")


def picture(rows: Sequence[Sequence[Path | None]], file: Path) -> Path:
    """Rows of images as one picture; None leaves a place white."""
    from PIL import Image

    step = SIDE + GAP
    grid = Image.new("RGB", (len(rows[0]) * step - GAP, len(rows) * step - GAP), "white")
    modes = set()
    for y, row in enumerate(rows):
        for x, path in enumerate(row):
            if path is not None:
                with Image.open(path) as image:
                    modes.add(image.mode)
                    shown = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
                    grid.paste(shown, (x * step, y * step))
    (grid.convert("L") if modes == {"L"} else grid).save(file, optimize=True)
    return file


def markdown(table: Table) -> str:
    """A table in Markdown."""
    rows = [list(table.columns), ["---"] * len(table.columns), *([show(value) for value in row] for row in table.rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


def machine(device: str) -> str:
    """For example "x86_64, cpu (2 threads), fp32"."""
    import platform

    from defectaug.device import choose

    return f"{platform.machine()}, {choose(device).describe()}"


def few(index: DataIndex, product: str, count: int, seed: int) -> DataIndex:
    """The index with no more than `count` images of each defect of one product, drawn by the seed."""
    import random

    kept: set[Sample] = set()
    for defect in index.defects[1:]:
        found = index.category(product, defect)
        kept |= set(random.Random(f"{seed} {product} {defect}").sample(found, min(count, len(found))))
    return index.where(lambda s: s.product != product or s.defect == index.normal or s in kept)


def link_file(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has none; nothing where the target is there."""
    if target.exists():
        return
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
