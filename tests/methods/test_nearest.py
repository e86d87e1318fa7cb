"""The nearest of many known places, found in clusters."""

import pytest
import torch

from defectaug.methods import nearest
from defectaug.methods.nearest import Search


def places(count: int, seed: int, spread: float = 1.0) -> torch.Tensor:
    """Around twenty middles, as features of a surface are: there are some kinds of places."""
    generator = torch.Generator().manual_seed(seed)
    middles = 4 * torch.randn(20, 24, generator=torch.Generator().manual_seed(0))
    kind = torch.randint(20, (count,), generator=generator)
    return middles[kind] + spread * torch.randn(count, 24, generator=generator)


def by_all(some: torch.Tensor, known: torch.Tensor, count: int) -> torch.Tensor:
    return torch.cdist(some, known).square().topk(count, largest=False).values


@pytest.mark.parametrize("known", [5, 700, 4000])
def test_distances_are_those_to_all_places_but_for_a_hundredth(known: int) -> None:
    some, among = places(600, 1), places(known, 2)
    found = Search.among(among, 4).nearest(some, 3).sqrt().mean(1)
    wanted = by_all(some, among, 3).sqrt().mean(1)
    assert (found / wanted - 1).mean() < 0.01
    assert (found > wanted - 1e-3).all()
    if known <= nearest.FEW:
        assert torch.allclose(found, wanted, rtol=1e-4)


def test_places_far_from_all_others_do_not_make_clusters_that_are_too_small_to_answer() -> None:
    alone = 1000 * torch.randn(300, 24, generator=torch.Generator().manual_seed(3))
    among = torch.cat([places(3000, 2, spread=0.01), alone])
    search = Search.among(among, 4)
    counts = [int(squares.isfinite().sum()) for squares in search.squares]
    assert min(counts) >= 4
    assert sum(counts) == search.known == len(among)
    assert torch.isfinite(search.nearest(alone + 1, 3)).all()


def test_many_equal_places() -> None:
    search = Search.among(torch.ones(3000, 24), 4)
    assert torch.allclose(search.nearest(torch.zeros(5, 24), 3), torch.full((5, 3), 24.0))


def test_fewer_places_than_are_asked_for() -> None:
    assert Search.among(torch.ones(2, 24), 4).nearest(torch.ones(3, 24), 3).shape == (3, 2)


def test_the_same_places_give_the_same_search() -> None:
    among, some = places(4000, 2), places(50, 3)
    assert torch.equal(Search.among(among, 4).nearest(some, 3), Search.among(among, 4).nearest(some, 3))


def test_products_of_matrices_have_few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shape is compiled, on a CPU with AMX for longer than the product takes."""
    shapes: set[tuple] = set()
    multiply = torch.addmm

    def counting(bias: torch.Tensor, a: torch.Tensor, b: torch.Tensor, **how: float) -> torch.Tensor:
        shapes.add((*a.shape, *b.shape))
        return multiply(bias, a, b, **how)

    search = Search.among(places(4000, 2), 4)
    monkeypatch.setattr(torch, "addmm", counting)
    for seed in range(20):
        search.nearest(places(1000, seed), 3)
    assert len(shapes) <= 40  # 821 without room for more


def test_there_is_room_but_not_for_half_as_many_again() -> None:
    rooms = [nearest.roomy(count) for count in range(1, 5000)]
    assert all(count <= room <= max(32, 1.5 * count) for count, room in enumerate(rooms, 1))
    assert len(set(rooms)) < 20
