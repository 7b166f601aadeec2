"""The card of a checkpoint: what it is for, how to use it, how it scored and how it was made."""

import json
import re
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .redaction_clap_student import public
from .version import __version__


_CARD = """# {name}

{description} Made with `modeling_clap_student` {version}.

## Use

{use}

## Results

{results}

## How it was made

{origin}

<details>
<summary>The full record</summary>

```json
{record}
```

</details>

## Intended use and limits

{limits}
"""
_LIMITS = """It says which of some named sounds a clip holds, and finds clips by words and words by clips.
It knows what its captions spoke of; classes that they lack are guesses. It was not tested for speech, music or
decisions about people. Measure it on labelled clips of your own before you rely on it."""
_TOWER_LIMITS = """It is one half of an audio-text model: what a training starts from. It knows no words."""
_CLAP = """An audio-text model (CLAP): a CNN14 audio tower, which hears {rate} Hz mono, and a BERT text tower in one
space of {dim} dimensions."""
_CLAP_USE = """```python
from transformers import AutoModel
model = AutoModel.from_pretrained("{repo_id}", trust_remote_code=True)
print(model.encode_audio("clip.wav") @ model.encode_text(["this is a sound of dog", "this is a sound of rain"]).T)
```

The same with sentence-transformers:

```python
from sentence_transformers import SentenceTransformer
model = SentenceTransformer("{repo_id}", trust_remote_code=True)
clips, texts = model.encode(["clip.wav"]), model.encode(["this is a sound of dog", "this is a sound of rain"])
print(model.similarity(clips, texts))
```"""
_TRANSFORMERS_CLAP = (
    """transformers' own audio-text model (`ClapModel`): two towers into one space of {dim} dimensions."""
)
_TRANSFORMERS_CLAP_USE = """```python
from transformers import pipeline
classifier = pipeline("zero-shot-audio-classification", model="{repo_id}")
print(classifier("clip.wav", candidate_labels=["this is a sound of dog", "this is a sound of rain"]))
```"""
_TOWER = """A CNN14 audio tower: {rate} Hz, mono, to {dim} dimensions."""
_TOWER_USE = """```python
import torch
from transformers import AutoModel
model = AutoModel.from_pretrained("{repo_id}", trust_remote_code=True)
print(model(torch.zeros(1, {rate})).pooler_output)
```"""
# The Hub shows how to load a model with each library that its metadata names. It has no task for zero-shot
# classification of audio, so there is no widget for it. `widget` holds the texts of the sentence-transformers lines.
_SENTENCE_DATA: dict[str, Any] = {
    "tags": ["sentence-transformers", "custom_code"],
    "widget": [
        {
            "source_sentence": "this is a sound of rain",
            "sentences": ["this is a sound of a thunderstorm", "this is a sound of a dog barking"],
        }
    ],
}


def model_card(repo_id: str, config, weights: str | None = None) -> ModelCard:
    """The card of a checkpoint.

    Args:
        repo_id: where it is or will be; used in the lines that show how to use it.
        config: a `ClapStudentConfig`, `ClapStudentAudioConfig` or transformers' `ClapConfig`. Training and conversion
            leave a `record` in it. The record may have `version`, `license`, `origin` (a sentence), `datasets` and
            `teacher` (each a name or `{name, revision}`), `results` (rows of `{model, task, metric, value, n, low,
            high}`), `hyperparameters` and anything else.
        weights: their fingerprint. If the record's `fingerprint` differs, the record describes other weights. The card
            then leaves the scores out and says so.
    """
    record, repo_id = public(dict(getattr(config, "record", None) or {})), public(repo_id)
    if weights and record.get("fingerprint", weights) != weights:
        origin = record.pop("origin", "")
        record["origin"] = f"{origin} The weights were changed since, and were not evaluated again.".strip()
        record.pop("results", None)
    is_tower = not hasattr(config, "audio_config")
    rate = getattr(config if is_tower else config.audio_config, "sampling_rate", None)
    dim = config.hidden_size if is_tower else config.projection_dim
    texts = {"clap": (_TRANSFORMERS_CLAP, _TRANSFORMERS_CLAP_USE), "clap_student": (_CLAP, _CLAP_USE)}
    description, use = texts.get(config.model_type, (_TOWER, _TOWER_USE))
    results = record.get("results") or []
    extra = dict(_SENTENCE_DATA) if config.model_type == "clap_student" else {"tags": []}
    data = ModelCardData(
        license=record.get("license", "unknown"),
        library_name="transformers",
        pipeline_tag="feature-extraction" if is_tower else "zero-shot-audio-classification",
        tags=["audio", "clap", config.model_type, *extra.pop("tags")],
        datasets=_hub_ids(record.get("datasets") or []) or None,
        base_model=(_hub_ids([record.get("teacher")]) or [None])[0],
        model_name=repo_id.split("/")[-1],
        eval_results=[_eval_result(row) for row in results if row.get("model", "this") != "teacher"] or None,
        **extra,
    )
    body = _CARD.format(
        name=repo_id.split("/")[-1],
        description=description.format(rate=rate, dim=dim),
        use=use.format(repo_id=repo_id, rate=rate),
        version=record.get("version", __version__),
        results=_table(results) if results else "It was not evaluated when it was made.",
        origin=record.pop("origin", "No record of how it was made came with the weights."),
        record=json.dumps(_without_gaps(record), indent=2),
        limits=_TOWER_LIMITS if is_tower else _LIMITS,
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def _without_gaps(record):
    """Leaves out what says nothing: null, and the text "None" that arguments write for it."""
    if isinstance(record, dict):
        return {key: _without_gaps(value) for key, value in record.items() if value not in (None, "None")}
    return [_without_gaps(value) for value in record] if isinstance(record, list) else record


HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def _hub_ids(sources: list) -> list[str]:
    """The names that may stand in a card's metadata: Hub ids, no folders."""
    names = [source.get("name") if isinstance(source, dict) else source for source in sources]
    revisions = [source.get("revision") if isinstance(source, dict) else None for source in sources]
    pairs = zip(names, revisions, strict=True)
    return [name for name, revision in pairs if revision and HUB_ID.fullmatch(name)]


def _eval_result(row: dict) -> EvalResult:
    return EvalResult(
        task_type="zero-shot-audio-classification",
        dataset_type=re.sub(r"\W+", "_", row["task"]),
        dataset_name=row["task"],
        metric_type=row["metric"],
        metric_value=round(row["value"], 4),
        metric_args={"n": row["n"], "low": round(row["low"], 4), "high": round(row["high"], 4)},
    )


_MARKS = re.compile(r"[\\`*\[\]<>|&!]")


def markdown_text(text: str) -> str:
    """Escapes a text for Markdown, in one line. It can't break a table, make a tag or show a picture."""
    return _MARKS.sub(lambda mark: f"\\{mark[0]}", " ".join(text.split()))


def _table(rows: list[dict]) -> str:
    lines = ["| model | task | metric | value | 95 % interval | n |", "|---|---|---|---|---|---|"]
    for row in rows:
        name = row.get("model", "this")
        value = f"{row['value']:.1%} | {row['low']:.1%} – {row['high']:.1%}"
        lines.append(f"| {name} | {markdown_text(row['task'])} | {row['metric']} | {value} | {row['n']} |")
    return "\n".join(lines)
