from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.choices import derive_seed, eval_prompts, pool_prompts, train_prompts


@given(st.integers(1, 30), st.integers(0, 5), st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_a_pool_has_no_prompt_twice_and_all_are_used_before_any_comes_again(count: int, seed: int, parts: list[float]) -> None:
    train = list(range(100, 100 + count))
    used: list[int] = []
    for part in parts:
        size = max(1, round(part * count))
        pool = pool_prompts(train, seed, len(used), size)
        assert len(set(pool)) == len(pool) == size
        assert set(pool) <= set(train)
        used += pool
    first_lap = used[:count]
    assert len(set(first_lap)) == len(first_lap)


def test_seeds_of_different_purposes_differ_and_stay() -> None:
    assert derive_seed(1, "a") == derive_seed(1, "a")
    assert len({derive_seed(s, part) for s in range(20) for part in "abc"}) == 60


@pytest.mark.django_db
def test_eval_prompts_are_the_domains_and_train_prompts_come_in_the_experiments_order(domain) -> None:
    assert eval_prompts(domain, 3) == eval_prompts(domain, 5)[:3]
    assert sorted(train_prompts(domain, 1)) == sorted(train_prompts(domain, 2))
    assert train_prompts(domain, 1) == train_prompts(domain, 1) != train_prompts(domain, 2)
