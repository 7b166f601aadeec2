"""The paper's scores, and the sets on which ours can be compared with them."""

from collections.abc import Sequence

from ..data.benchmarks import Benchmark


# Number of clips in the whole sets, with all folds and parts, as the paper evaluates.
PAPER_CLIPS = {"esc50": 2000, "urbansound8k": 8732, "tut17": 6300}

PAPER_SCORES = {
    "teacher": {"esc50": (81.9, 0.9), "urbansound8k": (74.8, 1.2), "tut17": (29.8, 1.3)},
    "SL": {"esc50": (83.1, 1.2), "urbansound8k": (73.9, 2.6), "tut17": (30.1, 2.1)},
    "DU": {"esc50": (82.4, 1.4), "urbansound8k": (73.9, 0.2), "tut17": (31.5, 1.0)},
    "DU+SL": {"esc50": (83.0, 0.5), "urbansound8k": (74.9, 1.4), "tut17": (29.9, 1.9)},
    "DS": {"esc50": (78.8, 0.5), "urbansound8k": (73.2, 1.1), "tut17": (29.8, 2.6)},
    "DS+SL": {"esc50": (83.5, 0.6), "urbansound8k": (75.5, 1.4), "tut17": (31.8, 2.6)},
    "ADS": {"esc50": (84.2, 0.5), "urbansound8k": (74.2, 2.1), "tut17": (32.5, 1.0)},
    "ADS+SL": {"esc50": (85.1, 0.7), "urbansound8k": (77.4, 0.6), "tut17": (36.0, 1.8)},
    "10 % teacher": {"esc50": (74.2, 1.3), "urbansound8k": (73.5, 2.0), "tut17": (30.9, 1.6)},
    "10 % teacher, DU+SL": {"esc50": (78.9, 0.3), "urbansound8k": (73.7, 1.3), "tut17": (28.8, 1.1)},
    "10 % teacher, ADS+SL": {"esc50": (81.3, 1.0), "urbansound8k": (74.5, 0.7), "tut17": (31.3, 0.5)},
}


def in_paper(task: object) -> bool:
    """Whether a task is one of the paper's, with all its clips."""
    return isinstance(task, Benchmark) and PAPER_CLIPS.get(task.layout) == len(task.clips)


def paper_rows(tasks: Sequence) -> list[list[str]]:
    """Rows of a table of accuracies; empty if no task is the paper's."""
    if not any(map(in_paper, tasks)):
        return []
    return [
        [
            f"paper: {name}",
            *("{:.1f} ± {:.1f}".format(*scores[task.layout]) if in_paper(task) else "–" for task in tasks),
        ]
        for name, scores in PAPER_SCORES.items()
    ]
