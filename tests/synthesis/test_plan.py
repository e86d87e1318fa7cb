"""What is to be made: names, order, seeds, shards."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from defectaug.data.sample import Category, Sample
from defectaug.errors import ConfigError
from defectaug.synthesis.plan import (
    Plan,
    derive_seed,
    drawn,
    plan_balance,
    plan_categories,
)
from defectaug.synthesis.settings import SynthesisSettings, parse_shard


def samples(product: str, defect: str, count: int, suffix: str = ".png") -> tuple[Sample, ...]:
    return tuple(
        Sample(Path(f"{product}/{defect}/{number}{suffix}"), product, defect) for number in range(count)
    )


NORMALS = {"A": samples("A", "normal", 5), "B": samples("B", "normal", 3)}


def planned(n: int, seed: int = 0, category: str = "A/scratch") -> Plan:
    product, defect = category.split("/")
    return plan_categories([Category(product, defect)], n, seed=seed, normals=NORMALS)


def test_items_of_a_longer_run_start_like_those_of_a_shorter_one() -> None:
    assert planned(40).items[:7] == planned(7).items


def test_an_item_of_many_categories_is_that_of_the_category_alone() -> None:
    both = plan_categories([Category("A", "scratch"), Category("B", "spot")], 6, seed=3, normals=NORMALS)
    alone = planned(6, seed=3, category="B/spot").items
    mine = [item for item in both.items if item.product == "B"]
    assert [(i.file, i.seed, i.source) for i in mine] == [(i.file, i.seed, i.source) for i in alone]
    assert [item.index for item in both.items] == list(range(12))


def test_seeds_differ_between_items_categories_and_user_seeds() -> None:
    seeds = [
        item.seed
        for category in ("A/scratch", "A/spot", "B/scratch")
        for seed in (0, 1)
        for item in planned(20, seed, category).items
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(seed is not None and 0 <= seed < 2**63 for seed in seeds)


def test_sources_recur_only_after_all_were_drawn() -> None:
    drawn_ones = [item.source.path for item in planned(12).items]
    assert set(Counter(drawn_ones[:5]).values()) == {1}
    assert set(Counter(drawn_ones[:10]).values()) == {2}
    assert drawn_ones[:5] != drawn_ones[5:10]  # another order each time
    assert drawn(NORMALS["A"], 7, "k") == drawn(NORMALS["A"], 7, "k")


def test_shards_part_the_plan() -> None:
    plan = planned(10)
    parts = [plan.shard(number, 3) for number in (1, 2, 3)]
    assert [item.index for item in parts[1]] == [1, 4, 7]
    assert sorted(item.index for part in parts for item in part) == list(range(10))


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/", "-1/2", "1/2/3"])
def test_wrong_shards_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--shard"):
        parse_shard(text)


def test_right_shards() -> None:
    assert parse_shard("2/8") == (2, 8)
    assert SynthesisSettings().part == (1, 1)


def balance(real: dict, **options: object) -> Plan:
    settings: dict = {"normal": "normal", "n": None, "seed": 0, "normals": NORMALS, "defects": ["scratch", "spot"]}
    return plan_balance(real, **(settings | options))


REAL = {
    ("A", "normal"): samples("A", "normal", 5),
    ("A", "scratch"): samples("A", "scratch", 2),
    ("B", "normal"): samples("B", "normal", 3),
    ("B", "spot"): samples("B", "spot", 7),
}


def counts(plan: Plan, synthetic: bool) -> dict[tuple[str, str], int]:
    return dict(Counter((i.product, i.defect) for i in plan.items if i.synthetic is synthetic))


def test_balance_brings_every_defect_to_the_fullest() -> None:
    plan = balance(REAL)
    assert counts(plan, False) == {category: len(found) for category, found in REAL.items()}
    assert counts(plan, True) == {("A", "scratch"): 5, ("A", "spot"): 7, ("B", "scratch"): 7}
    assert [item.index for item in plan.items] == list(range(len(plan.items)))
    assert any("A/normal stays below 7" in note for note in plan.notes)


def test_balance_to_n_keeps_all_real_images() -> None:
    plan = balance(REAL, n=4)
    assert counts(plan, False)[("B", "spot")] == 7
    assert counts(plan, True) == {("A", "scratch"): 2, ("A", "spot"): 4, ("B", "scratch"): 4}


def test_a_balance_that_makes_nothing_says_why() -> None:
    full = {("A", "normal"): samples("A", "normal", 5), ("A", "spot"): samples("A", "spot", 7)}
    plan = balance(full, n=4, defects=["spot"])
    assert not counts(plan, True) and "nothing is made" in plan.notes[-1] and "--product" in plan.notes[-1]
    assert not any("nothing is made" in note for note in balance(REAL).notes)


def test_balance_leaves_what_cannot_be_painted_and_says_so() -> None:
    real = {**REAL, ("A", "dent"): samples("A", "dent", 1)}
    plan = balance(real, normals={"A": NORMALS["A"]})
    assert ("A", "dent") not in counts(plan, True)
    assert not any(product == "B" for product, _ in counts(plan, True))
    assert any("has not learnt 'dent'" in note for note in plan.notes)
    assert any("B has no normal image" in note for note in plan.notes)


def test_file_names_never_collide() -> None:
    folders = tuple(
        Sample(Path(f"A/normal/{part}/{name}"), "A", "normal")
        for part in ("train", "test")
        for name in ("0.png", "0.jpg", "1.png")
    )
    earlier = (Sample(Path("A/scratch/scratch-s0-00000.png"), "A", "scratch"),)
    plan = balance({("A", "normal"): folders, ("A", "scratch"): earlier}, normals={"A": folders})
    stems = [item.file.rpartition(".")[0].casefold() for item in plan.items]
    assert len(set(stems)) == len(stems)
    assert "A/scratch/scratch-s0-00000.png" in {item.file for item in plan.items if not item.synthetic}


def test_references_are_of_the_items_defect() -> None:
    references = {"scratch": samples("B", "scratch", 2), "spot": samples("B", "spot", 3)}
    both = [Category("A", "scratch"), Category("A", "spot")]
    plan = plan_categories(both, 5, seed=0, normals=NORMALS, references=references)
    assert all(item.reference is not None and item.reference.defect == item.defect for item in plan.items)


def test_derived_seeds_depend_on_every_part() -> None:
    assert (
        len({derive_seed(0, "A", 1), derive_seed(1, "A", 1), derive_seed(0, "B", 1), derive_seed(0, "A", 2)})
        == 4
    )
