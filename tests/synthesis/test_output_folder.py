"""The folder that synthesis leaves: never a file of the user's, never half of one; runs finished later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_model import FakeModel, contents, lines, save, surface
from PIL import Image

from defectaug.errors import DataError, OutputError
from defectaug.synthesis.api import synthesize


def test_a_folder_that_is_not_empty_is_refused_and_untouched(model: FakeModel, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="not empty"):
        synthesize(model=model, product="A", n=1, out=out)
    assert contents(out) == {"mine.txt": b"keep"}


def test_overwrite_removes_our_files_alone(model: FakeModel, tmp_path: Path) -> None:
    out = tmp_path / "out"
    synthesize(model=model, product="A", defect="spot", n=3, out=out, masks=True)
    (out / "A/spot/mine.png").write_text("keep")
    with pytest.raises(OutputError, match="--overwrite"):
        synthesize(model=model, product="A", defect="spot", n=3, out=out, masks=True)
    synthesize(model=model, product="B", defect="spot", n=2, out=out, overwrite=True)
    assert (out / "A/spot/mine.png").read_text() == "keep"
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.png")) == [
        "A/spot/mine.png",
        "B/spot/spot-s0-00000.png",
        "B/spot/spot-s0-00001.png",
    ]
    assert not list((tmp_path / "out.masks").rglob("*.png"))


def test_overwrite_never_replaces_a_file_that_is_not_ours(model: FakeModel, tmp_path: Path) -> None:
    target = tmp_path / "out/A/spot/spot-s0-00000.png"
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    with pytest.raises(OutputError, match="not ours"):
        synthesize(model=model, product="A", defect="spot", n=1, out=tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out") == {"A/spot/spot-s0-00000.png": b"mine"}


def test_a_manifest_cannot_make_us_remove_files_elsewhere(model: FakeModel, tmp_path: Path) -> None:
    victim = save(tmp_path / "victim.png", surface(0))
    out = tmp_path / "out"
    out.mkdir()
    evil = [{"file": "../victim.png", "index": 0}, {"file": str(victim), "index": 1}]
    (out / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in evil))
    synthesize(model=model, product="A", defect="spot", n=1, out=out, overwrite=True)
    assert victim.exists()


def test_output_over_the_source_is_refused(model: FakeModel, root: Path) -> None:
    before = contents(root)
    for out in (root, root / "new", root.parent):
        with pytest.raises(OutputError, match="overlaps the source"):
            synthesize(model=model, product="A", n=1, out=out, overwrite=True)
    assert contents(root) == before


class Interrupted(Exception):
    pass


def interrupt_after(count: int):
    def progress(done: int, total: int) -> None:
        if done >= count:
            raise Interrupted

    return progress


@pytest.mark.parametrize("options", [{"product": "A", "n": 8}, {"n": 12}])
def test_an_interrupted_run_is_finished_to_the_same_end(
    model: FakeModel, tmp_path: Path, options: dict
) -> None:
    synthesize(model=model, out=tmp_path / "whole", masks=True, **options)
    cut = tmp_path / "cut"
    with pytest.raises(Interrupted):
        synthesize(model=model, out=cut, masks=True, batch_size=2, progress=interrupt_after(4), **options)
    manifest = (cut / "manifest.jsonl").read_text()
    assert 4 <= len(manifest.splitlines()) < len(lines(tmp_path / "whole"))
    (cut / "manifest.jsonl").write_text(manifest + '{"file": "A/sp')  # a crash in the middle of a line
    summary = synthesize(model=model, out=cut, masks=True, **options)
    assert summary.kept >= 4
    assert contents(cut) == contents(tmp_path / "whole")
    assert contents(tmp_path / "cut.masks") == contents(tmp_path / "whole.masks")


def test_an_interrupted_run_of_other_settings_is_refused(model: FakeModel, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        synthesize(model=model, out=out, product="A", n=8, batch_size=2, progress=interrupt_after(2))
    before = contents(out)
    with pytest.raises(OutputError, match="n 8, now 9"):
        synthesize(model=model, out=out, product="A", n=9)
    assert contents(out) == before
    synthesize(model=model, out=out, product="A", n=1, overwrite=True)
    assert len(list(out.rglob("*.png"))) == 2


def test_shards_join_to_the_whole_in_any_order(model: FakeModel, tmp_path: Path) -> None:
    synthesize(model=model, out=tmp_path / "whole", n=7)
    summaries = [synthesize(model=model, out=tmp_path / "parts", n=7, shard=f"{k}/3") for k in (3, 1, 2)]
    assert [summary.complete for summary in summaries] == [False, False, True]
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_a_run_that_fails_before_its_first_image_leaves_nothing(
    model: FakeModel, root: Path, tmp_path: Path
) -> None:
    for path in (root / "A/normal").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    for existing in (False, True):
        if existing:
            (tmp_path / "out").mkdir()
        with pytest.raises(DataError, match="cannot be read"):
            synthesize(model=model, product="A", n=1, out=tmp_path / "out")
        assert (tmp_path / "out").exists() is existing
        assert not existing or contents(tmp_path / "out") == {}


def test_a_second_run_beside_the_first_is_refused(model: FakeModel, tmp_path: Path) -> None:
    def second(done: int, total: int) -> None:
        if done == 2:
            with pytest.raises(OutputError, match="another run is writing"):
                synthesize(model=model, product="A", n=4, out=tmp_path / "out")

    assert synthesize(model=model, product="A", n=4, out=tmp_path / "out", progress=second).complete
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["A", "defectaug-made.json", "manifest.jsonl"]


def test_no_permission_is_one_line(model: FakeModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written") as raised:
        synthesize(model=model, product="A", n=1, out=tmp_path / "file" / "out")
    assert "\n" not in str(raised.value)


def test_no_space_leaves_no_half_written_file(
    model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_save = Image.Image.save
    calls: list[int] = []

    def full_disk(self: Image.Image, target, *args, **options) -> None:
        calls.append(1)
        if len(calls) == 4:
            target.write(b"\x89PNG half")
            raise OSError(28, "No space left on device")
        real_save(self, target, *args, **options)

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OutputError, match="no space left"):
        synthesize(model=model, product="A", defect="spot", n=9, out=tmp_path / "out")
    monkeypatch.undo()
    for path in (tmp_path / "out").rglob("*.png"):
        Image.open(path).load()
    assert not list((tmp_path / "out").rglob("*.part"))
    assert synthesize(model=model, product="A", defect="spot", n=9, out=tmp_path / "out").complete
