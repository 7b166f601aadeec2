"""What the report counts and picks out of the pairs. Columns are read where they lie, in arrow, not row by row."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column of numbers as (rows,) float32, NaN for null."""
    return column.cast(pa.float32()).to_numpy().astype(np.float32, copy=False)


def label_rows(table: pa.Table, selected: dict[str, np.ndarray] | None, class_names: list[str]) -> list[dict]:
    """What each label got, most pairs first; labels that got nothing are told too.

    Args:
        table: with `label`, `label_similarity`, `audio_id`, `caption_id`.
        selected: for each label the similarities of the captions selected for it; without it those in the pairs count.
        class_names: all labels.

    Returns:
        dicts of `label`, `captions` selected, the `lowest` and `highest` of their similarities to the prompt (NaN
        without captions), captions `matched`, `clips`, `pairs`.
    """
    counted = table.group_by("label").aggregate(
        [
            ([], "count_all"),
            ("caption_id", "count_distinct"),
            ("audio_id", "count_distinct"),
            ("label_similarity", "min"),
            ("label_similarity", "max"),
        ]
    )
    found = {row["label"]: row for row in counted.to_pylist() if row["label"] is not None}
    rows = []
    for label in dict.fromkeys([*class_names, *(selected or {}), *sorted(found)]):
        row = found.get(label, {})
        matched = row.get("caption_id_count_distinct", 0)
        ends = (row.get("label_similarity_min"), row.get("label_similarity_max"))
        near = np.array([end for end in ends if end is not None], np.float32)
        if selected is not None:
            near = selected.get(label, near[:0])
        rows.append(
            {
                "label": label,
                "captions": matched if selected is None else len(near),
                "lowest": float(near.min()) if len(near) else np.nan,
                "highest": float(near.max()) if len(near) else np.nan,
                "matched": matched,
                "clips": row.get("audio_id_count_distinct", 0),
                "pairs": row.get("count_all", 0),
            }
        )
    return sorted(rows, key=lambda row: -row["pairs"]) if found else []


def _most_frequent(table: pa.Table, key: str, most: int) -> list[dict]:
    """The values that recur most: `key`, `count`, the first `row` and the `rows` of each."""
    counted = table.select([key]).group_by(key).aggregate([([], "count_all")])
    top = counted.sort_by([("count_all", "descending"), (key, "ascending")]).slice(0, most).to_pylist()
    return [
        {
            "key": found[key],
            "count": found["count_all"],
            "row": pc.index(table[key], found[key]).as_py(),
            "rows": table.select(["similarity", "label"]).filter(pc.equal(table[key], found[key])),
        }
        for found in top
    ]


def _mean(column: pa.ChunkedArray) -> float:
    mean = pc.mean(column).as_py()  # of those that are not null
    return np.nan if mean is None else mean


def hub_clips(table: pa.Table, most: int) -> list[dict]:
    """The clips with most captions: `audio_id`, `count`, a `row` of theirs, `mean` similarity, number of `labels`."""
    return [
        {
            "audio_id": hub["key"],
            "count": hub["count"],
            "row": hub["row"],
            "mean": _mean(hub["rows"]["similarity"]),
            "labels": pc.count_distinct(hub["rows"]["label"]).as_py(),
        }
        for hub in _most_frequent(table, "audio_id", most)
    ]


def hub_captions(table: pa.Table, most: int) -> list[dict]:
    """The captions with most clips: `caption`, `label` or None, `count`, `mean` similarity."""
    return [
        {
            "caption": table["caption"][hub["row"]].as_py(),
            "label": table["label"][hub["row"]].as_py(),
            "count": hub["count"],
            "mean": _mean(hub["rows"]["similarity"]),
        }
        for hub in _most_frequent(table, "caption_id", most)
    ]


def random_rows(total: int, most: int, seed: int) -> list[int]:
    """Different rows, drawn without regard to what they hold."""
    return np.random.default_rng(seed).choice(total, min(most, total), replace=False).tolist()


def nearest_rows(values: np.ndarray, threshold: float | None, most: int) -> list[int]:
    """The rows whose value lies nearest to the threshold, or lowest where there is none; NaN counts as far away.

    Equally near ones in the order of their rows.
    """
    distance = values if threshold is None else np.abs(values - np.float32(threshold))
    distance = np.nan_to_num(distance, nan=np.inf)
    most = min(most, len(distance))
    last = np.partition(distance, most - 1)[most - 1]
    # Of those that are as near as the last one, only as many as there is room for.
    rows = np.concatenate([np.flatnonzero(distance < last), np.flatnonzero(distance == last)])[:most]
    return rows[np.argsort(distance[rows], kind="stable")].tolist()
