"""Models side by side: paired differences on the items that both could read, mean and s.d. over models."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import binomtest

from modeling_clap_student.errors import InputError
from modeling_clap_student.evaluation.statistics import ItemScores, compare, paired_difference, score_row


def hits(items: list, right: list) -> ItemScores:
    return ItemScores(np.array(items), np.array(right, dtype=bool))


@dataclass
class Scored:
    """A result of one task with one score."""

    scores: ItemScores

    def as_rows(self, seed: int) -> list[dict]:
        values = self.scores.values
        return [
            score_row("t", "accuracy", float(values.mean()), len(values), (0.0, 1.0)),
            score_row("t", "mAP", 0.5, 1),
        ]

    def item_scores(self) -> dict[str, ItemScores]:
        return {"accuracy": self.scores}


def test_items_are_matched_by_name_not_by_place():
    """Guards against clips compared with others, where one model could not read all or read them in another order."""
    mine = hits(["d", "a", "c", "b"], [1, 1, 0, 1])
    theirs = hits(["a", "b", "c", "e"], [0, 1, 1, 0])
    found = paired_difference([mine], theirs)  # of a, b and c: +1, 0, -1
    assert found["difference"] == 0 and found["mcnemar_p"] == 1
    assert found["difference_low"] == pytest.approx(-found["difference_high"], abs=0.35)
    with pytest.raises(InputError, match="not one clip in common"):
        paired_difference([mine], hits(["x"], [1]))


def test_difference_of_one_model_against_scipy_and_resampling():
    """Guards against an unpaired interval, which is wider where the models are right on the same clips."""
    rng = np.random.default_rng(0)
    theirs = rng.random(400) < 0.6
    mine = np.where(rng.random(400) < 0.1, ~theirs, theirs) | (rng.random(400) < 0.05)
    items = np.arange(400)
    found = paired_difference([ItemScores(items, mine)], ItemScores(items, theirs))
    change = mine.astype(int) - theirs
    assert found["difference"] == pytest.approx(change.mean())
    drawn = np.quantile(change[rng.integers(400, size=(20_000, 400))].mean(axis=1), [0.025, 0.975])
    assert (found["difference_low"], found["difference_high"]) == pytest.approx(drawn, abs=0.004)
    up, down = int((change > 0).sum()), int((change < 0).sum())
    assert found["mcnemar_p"] == pytest.approx(binomtest(up, up + down).pvalue)
    assert found == paired_difference([ItemScores(items, mine)], ItemScores(items, theirs))


def test_several_models_are_pooled_item_by_item():
    """Guards against each model's items counted as further clips, which makes the interval too narrow."""
    rng = np.random.default_rng(1)
    items, theirs, mine = np.arange(60), rng.random(60) < 0.5, rng.random(60) < 0.7
    one = paired_difference([ItemScores(items, mine)], ItemScores(items, theirs))
    three = paired_difference([ItemScores(items, mine)] * 3, ItemScores(items, theirs))
    ends = ("difference", "difference_low", "difference_high")
    assert [three[end] for end in ends] == pytest.approx([one[end] for end in ends])
    assert three["mcnemar_p"] is None


def test_rows_of_several_models_and_a_baseline():
    """Guards against a baseline in the mean, and a s.d. of the population."""
    items = list("abcd")
    results = {
        "base": [Scored(hits(items, [1, 0, 0, 0]))],
        "one": [Scored(hits(items, [1, 1, 1, 0]))],
        "two": [Scored(hits(items, [1, 1, 1, 1]))],
    }
    rows = [row for row in compare(results, "base") if row["metric"] == "accuracy"]
    assert [row["model"] for row in rows] == ["base", "one", "two", "mean of 2"]
    assert "difference" not in rows[0] and [row["difference"] for row in rows[1:]] == [0.5, 0.75, 0.625]
    assert [row["mcnemar_p"] for row in rows[1:]] == [0.5, 0.25, None]
    assert rows[3]["value"] == 0.875 and rows[3]["deviation"] == pytest.approx(np.std([0.75, 1], ddof=1))
    assert (rows[3]["low"], rows[3]["high"], rows[3]["n"]) == (None, None, 4)
    assert not any("baseline" in row for row in compare(results, "base") if row["metric"] == "mAP")
    assert not any("difference" in row or "deviation" in row for row in compare({"one": results["one"]}))
