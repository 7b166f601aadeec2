"""Which sounds a clip holds: `classify`, and two ways to tell it more than the classes' names."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from .classes_clap_student import NONE, answer_each, best_thresholds, class_vectors, highest_share
from .encoding_clap_student import EncodingMixin
from .errors import InputError
from .processing_clap_student import label_text
from .windows_clap_student import Windows


PROMPT = "this is a sound of {}"
Labels = Sequence[str] | Mapping[str, Tensor | None]


class ClassifyingMixin(EncodingMixin):
    """`classify`, and `fit_classes` and `calibrate` to prepare it, beside `encode_audio` and `encode_text`."""

    logit_scale: Tensor  # defined by the model

    def classify(
        self,
        audio,
        labels: Labels,
        prompt: str = PROMPT,
        sampling_rate: int | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        windows: float | None = None,
        hop: float | None = None,
        multi_label: bool = False,
        thresholds: Mapping[str, float] | None = None,
    ) -> list[dict[str, float]] | list[list[dict[str, float]]]:
        """Says which of some sounds each clip holds, and where in the clip, without any training on them.

        Args:
            audio, sampling_rate, batch_size, show_progress_bar: as in `encode_audio`.
            labels: two or more names. The prompt shows underscores and slashes in them as blanks. Or a mapping of
                names to their vectors from `fit_classes`; None for a class that is known by its name alone.
            prompt: the text for a label; `{}` is replaced by its name.
            windows: length of a part, in seconds; each part is classified by itself. The last part ends where the clip
                ends and is as long as the others. A clip that is no longer than a part is one part.
            hop: seconds from one part's start to the next one's; by default the parts lie side by side.
            multi_label: answer yes or no for each label, so that several labels may fit, or none.
            thresholds: needed for `multi_label`: one for each label, from `calibrate`.

        Returns:
            for each clip, label -> probability, in the order of the labels: the softmax of `logits_per_audio`. With
                `multi_label`: how sure the model is that the label fits, one half at its threshold; and `none of
                these`, above one half where no label reaches its threshold. With `windows`: a list of each clip's
                parts in the order of time, each with its `start` and `end` in seconds before the labels.

        Raises:
            InputError: labels that are no list of different names, a prompt without `{}`, meaningless windows or hop,
                missing thresholds, or as `encode_audio`.
        """
        _check_labels(labels, prompt, least=1 if multi_label else 2)
        cuts = _check_thresholds(labels, multi_label, thresholds)
        parts = None if windows is None and hop is None else _check_windows(windows, hop, labels)
        vectors = self._label_vectors(labels, prompt)
        if parts is None:
            clips = self.encode_audio(audio, sampling_rate, batch_size, show_progress_bar)
        else:
            clips, places = self.encode_parts(audio, sampling_rate, batch_size, show_progress_bar, parts)
        if len(clips) == 0:
            return []
        scale = self.logit_scale.detach().float().cpu().exp()
        if cuts is None:
            rows = [dict(zip(labels, row, strict=True)) for row in (scale * clips @ vectors.T).softmax(dim=1).tolist()]
        else:
            rows = answer_each(clips @ vectors.T, cuts, scale.item(), list(labels))
        return rows if parts is None else _by_clip(iter(rows), places)

    def fit_classes(
        self,
        clips_of: Mapping[str, Sequence],
        prompt: str = PROMPT,
        sampling_rate: int | None = None,
        batch_size: int = 32,
    ) -> dict[str, Tensor]:
        """Vectors for classes, from a few clips of each. `classify` takes them in place of the names.

        They can be mixed with names: `model.classify(clip, model.fit_classes(clips_of) | {"rain": None})`.

        Args:
            clips_of: two classes or more: name -> clips, as in `encode_audio`.
            prompt: the text for a class, used together with its clips; `{}` is replaced by its name.
            sampling_rate, batch_size: as in `encode_audio`.

        Returns:
            (projection dim,) float32 for each class; not unit vectors.

        Raises:
            InputError: fewer than two classes, a class without a clip, or as `encode_audio`.
        """
        names = list(clips_of)
        _check_labels(names, prompt)
        if empty := [name for name in names if isinstance(clips_of[name], (str, bytes)) or not len(clips_of[name])]:
            raise InputError(f"{empty[0]!r} has no list of clips: give one clip at least")
        clips = {name: self.encode_audio(list(clips_of[name]), sampling_rate, batch_size, False) for name in names}
        return class_vectors(clips, self._label_vectors(names, prompt))

    def calibrate(
        self,
        labels: Labels,
        audio,
        answers: Sequence[Mapping[str, bool]] | None = None,
        share: float = 0.01,
        prompt: str = PROMPT,
        sampling_rate: int | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
    ) -> dict[str, float]:
        """Thresholds for `classify(…, multi_label=True)`.

        Args:
            labels, prompt: as in `classify`.
            audio, sampling_rate, batch_size, show_progress_bar: clips as in `encode_audio`.
            answers: for each clip, label -> whether it fits, as far as somebody listened. Each threshold is then the
                one with the highest F1. Without answers, nothing needs to be known about the clips.
            share: without answers, the share of the clips that each label may claim.

        Returns:
            label -> cosine.

        Raises:
            InputError: as `classify`, or a meaningless share or meaningless answers.
        """
        _check_labels(labels, prompt, least=1)
        vectors = self._label_vectors(labels, prompt)
        cosines = self.encode_audio(audio, sampling_rate, batch_size, show_progress_bar) @ vectors.T
        cuts = highest_share(cosines, share) if answers is None else best_thresholds(cosines, answers, list(labels))
        return dict(zip(labels, cuts.tolist(), strict=True))

    def _label_vectors(self, labels: Labels, prompt: str) -> Tensor:
        """(labels, dim): the given vectors, and the embedded prompts of the other labels."""
        texts = self.encode_text(
            [prompt.replace("{}", label_text(label)) for label in labels], show_progress_bar=False
        )
        if not isinstance(labels, Mapping):
            return texts
        rows = []
        for (label, vector), text in zip(labels.items(), texts, strict=True):
            if vector is not None and tuple(torch.as_tensor(vector).shape) != tuple(text.shape):
                raise InputError(f"the vector of {label!r} lacks this model's {len(text)} numbers: fit it again")
            rows.append(text if vector is None else torch.as_tensor(vector, dtype=torch.float32))
        return torch.stack(rows)


def _by_clip(rows: Iterator[dict], places: list[list[tuple[float, float]]]) -> list[list[dict]]:
    """The rows of all parts, clip by clip, each after its times."""
    return [[{"start": start, "end": end} | next(rows) for start, end in times] for times in places]


def _check_thresholds(labels: Labels, multi_label: bool, thresholds: Mapping[str, float] | None) -> Tensor | None:
    if not multi_label:
        if thresholds is not None:
            raise InputError("thresholds answer yes or no: give multi_label=True too")
        return None
    if thresholds is None:
        raise InputError("multi_label needs thresholds: model.calibrate(labels, clips) gives them")
    if NONE in labels:
        raise InputError(f"{NONE!r} is the answer where no label fits: leave it out of the labels")
    if missing := [label for label in labels if label not in thresholds]:
        raise InputError(f"thresholds lack {missing[0]!r}: calibrate with the same labels")
    return torch.tensor([float(thresholds[label]) for label in labels])


def _check_windows(windows: float | None, hop: float | None, labels: Labels) -> Windows:
    if windows is None:
        raise InputError("hop sets how often a window begins: give windows too")
    if taken := {"start", "end"} & set(labels):
        raise InputError(f"the label {min(taken)!r} names a window's time: give the label another name")
    return Windows(windows, hop)


def _check_labels(labels: Labels, prompt: str, least: int = 2) -> None:
    are_names = isinstance(labels, (list, tuple, Mapping)) and all(
        isinstance(name, str) and name.strip() for name in labels
    )
    if not are_names:
        raise InputError(f"labels is a list of names, none of them blank, not {ascii(labels)[:80]}")
    if len(labels) < least:
        raise InputError(f"labels holds {len(labels)} name{'s' * (len(labels) != 1)}: at least {least} are needed")
    names = list(labels)
    if repeated := [label for place, label in enumerate(names) if label in names[:place]]:
        raise InputError(f"labels holds {repeated[0]!r} twice")
    if "{}" not in prompt:
        raise InputError(f"the prompt {prompt!r} has no {{}} where a label goes: 'the sound of {{}}'")
