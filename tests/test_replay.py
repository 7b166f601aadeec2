"""Batch-wise replay: which rows each optimiser step draws."""

import math

import pytest
from datasets import Dataset

from modeling_clap_student.data.replay import DrawnRows, ReplaySampler


def steps(num_curated=70, num_replay=30, step_size=8, replay_probability=0.5, seed=0, epoch=0) -> list[list[int]]:
    sampler = ReplaySampler(num_curated, num_replay, step_size, replay_probability, seed)
    sampler.set_epoch(epoch)
    indices = [row for row, _ in sampler]
    assert len(indices) == len(sampler)
    return [indices[i : i + step_size] for i in range(0, len(indices), step_size)]


def from_replay(step: list[int], num_curated: int = 70) -> bool:
    return step[0] >= num_curated


def test_each_step_is_of_one_source():
    """Guards against replay mixed within a batch, which is not the method."""
    drawn = steps(700, 300)
    assert all(len({index >= 700 for index in step}) == 1 for step in drawn)
    assert {from_replay(step, 700) for step in drawn} == {True, False}
    assert all(0 <= index < 1000 for step in drawn for index in step)


@pytest.mark.parametrize("probability", [0.2, 0.5, 0.8])
def test_share_of_replay(probability):
    """Guards against a probability taken the wrong way round, or shares that follow the sets' sizes."""
    drawn = steps(3600, 400, 2, probability, seed=1)
    share = sum(from_replay(step, 3600) for step in drawn) / len(drawn)
    assert len(drawn) == 2000
    assert abs(share - probability) < 4 * math.sqrt(probability * (1 - probability) / len(drawn))


@pytest.mark.parametrize(("probability", "expected"), [(0, {False}), (1, {True})])
def test_certain_draws(probability, expected):
    """Guards against single steps of the other source at the ends of the range."""
    assert {from_replay(step) for step in steps(replay_probability=probability)} == expected


def test_without_replay_set():
    """Guards against steps from a replay set that does not exist."""
    drawn = steps(10, 0, 4)
    assert len(drawn) == 3 and all(index < 10 for step in drawn for index in step)


def test_rows_come_once_before_any_comes_again():
    """Guards against draws with replacement, which leave a third of the rows unseen in an epoch."""
    for source in (False, True):
        rows = range(70, 100) if source else range(70)
        indices = [i for step in steps(step_size=10, replay_probability=int(source)) for i in step]
        assert len(indices) == 100
        for start in range(0, 100 - len(rows) + 1, len(rows)):
            assert sorted(indices[start : start + len(rows)]) == list(rows)
        assert indices[: len(rows)] != list(rows)


def test_sets_smaller_than_a_step_fill_it():
    """Guards against short steps, which other processes would wait for."""
    drawn = steps(3, 2, 8)
    assert [len(step) for step in drawn] == [8]
    assert sorted(set(steps(3, 2, 8, 0.0)[0])) == [0, 1, 2]
    assert sorted(set(steps(3, 2, 8, 1.0)[0])) == [3, 4]


def test_length_covers_both_sets():
    """Guards against epochs that stop short, or a last step that is not full."""
    assert len(ReplaySampler(70, 30, 8, 0.5, 0)) == 13 * 8
    assert len(ReplaySampler(70, 30, 10, 0.5, 0)) == 100
    assert ReplaySampler(1, 0, 5, 0.5, 0).num_steps == 1


def test_draws_depend_on_seed_and_epoch_alone():
    """Guards against processes that disagree on a step, resumed runs that differ, and epochs that repeat."""
    assert steps(seed=3, epoch=2) == steps(seed=3, epoch=2)
    sampler = ReplaySampler(70, 30, 8, 0.5, 3)
    assert list(sampler) == list(sampler)
    assert [row for row, _ in sampler] == [index for step in steps(seed=3) for index in step]
    draws = {tuple(draw for _, draw in sampler)}
    sampler.set_epoch(1)
    draws.add(tuple(draw for _, draw in sampler))
    assert len(draws) == 2 and all(len(set(of_epoch)) == len(of_epoch) for of_epoch in draws)
    variants = [steps(seed=3, epoch=2), steps(seed=3, epoch=1), steps(seed=4, epoch=2), steps(seed=2, epoch=3)]
    orders = {tuple(index for step in variant for index in step) for variant in variants}
    sources = {tuple(map(from_replay, steps(seed=3, epoch=epoch))) for epoch in range(4)}
    assert len(orders) == 4 and len(sources) > 1


@pytest.mark.parametrize(
    "arguments", [(0, 5, 8, 0.5), (5, 5, 0, 0.5), (5, 5, 8, -0.1), (5, 5, 8, 1.1), (5, 5, 8, math.nan)]
)
def test_bad_arguments_are_refused(arguments):
    """Guards against an endless or empty epoch."""
    with pytest.raises(ValueError):
        ReplaySampler(*arguments, seed=0)


def test_rows_come_with_their_draws():
    """Guards against crops that stand beside another row."""
    rows = DrawnRows(Dataset.from_dict({"audio_id": ["a", "b", "c"]}))
    assert rows.__getitems__([(2, 7), (0, 9)]) == [{"audio_id": "c", "draw": 7}, {"audio_id": "a", "draw": 9}]
    assert rows[1, 5] == {"audio_id": "b", "draw": 5} and len(rows) == 3
