"""The arguments of a curation: what is paired with what, and which similarity is enough."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..checkpoints.arguments import TEACHER_HELP, TRUST_HELP
from ..data.skipping import LeakageArguments
from ..data.sources import check_hub_id
from ..data.window_arguments import WindowArguments
from ..errors import InputError
from ..utils.arguments import COUNT, NOT_NEGATIVE, SEED, Range, flag
from ..utils.precision import AUTO as AUTO_DTYPE
from ..utils.precision import DTYPE_HELP, DTYPES
from .advisor import AUTO
from .promise import CONFIDENCE, Promise, decide, missing_words
from .verdicts import SUFFIXES, Verdicts, read_verdicts


STRATEGIES = ("du", "ds", "ads")
MAX_PAIRS = 50_000_000
MATCHING = ("max_captions_per_clip", "max_clips_per_caption", "mutual_nearest", "csls_neighbours", "max_pairs")
QUALITY = ("min_seconds", "max_silence", "max_clipping", "min_bandwidth_hz", "max_offset")
CORRECTIONS = ("csls_neighbours", "contrast_labels")  # with these, pairs are not ranked by their cosines alone
SCREENING = ("near_duplicates", "deduplicate", *QUALITY)
SOURCES = ("teacher", "captions", "audio", "exclude", "labels", "task")
JUDGED = ("confidence", "drop_rejected")
# The arguments that decide which pairs result. Only these are copied from a set that is made again. Output and
# publishing flags are not: the set may be somebody else's.
METHOD = (
    "strategy", *SOURCES, "caption_threshold", "caption_quantile", "num_captions",
    "captions_per_label", "label_prompts", "pair_threshold", "precision",
    *JUDGED, "pair_quantile", "num_pairs", "balance_labels", "contrast_labels", *MATCHING, *SCREENING, "batch_size",
    "dtype", "max_skipped_fraction", "seed", "window_seconds", "hop_seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Threshold:
    """Exactly one of three ways to say how much to keep.

    A cosine threshold for one teacher means nothing for another, whose similarities have another spread. Hence the
    other two ways.
    """

    value: float | None = None  # keep cosines of at least this
    quantile: float | None = None  # in [0, 1]; keep values at or above it: 0.99 keeps the best hundredth
    count: int | None = None  # keep this many of the best

    def __post_init__(self):
        names = [name for name in ("value", "quantile", "count") if getattr(self, name) is not None]
        if len(names) != 1:
            raise ValueError(f"give one of value, quantile and count, not {' and '.join(names) or 'none'}")
        if self.value is not None and not -1 <= self.value <= 1:
            raise ValueError(f"a cosine threshold must lie in [-1, 1], got {self.value}")
        if self.quantile is not None and not 0 <= self.quantile <= 1:
            raise ValueError(f"a quantile must lie in [0, 1], got {self.quantile}")
        if self.count is not None and self.count < 1:
            raise ValueError(f"the number to keep must be at least 1, got {self.count}")

    def number_of(self, total: int) -> int | None:
        """How many of `total` to keep; None where the value decides."""
        if self.count is not None:
            return min(self.count, total)
        if self.quantile is not None:
            return max(1, round((1 - self.quantile) * total))
        return None

    def resolve(self, similarities: np.ndarray) -> np.float32:
        """The float32 cosine at or above which to keep. All values equal to the cut are kept."""
        number = self.number_of(similarities.size)
        if number is None:
            return np.float32(self.value)
        return np.partition(similarities.ravel(), similarities.size - number)[similarities.size - number]

    def __str__(self) -> str:
        if self.value is not None:
            return f"cosine >= {self.value}"
        if self.quantile is not None:
            return f"quantile {self.quantile}"
        return f"the best {self.count}"


@dataclass
class CurateArguments(WindowArguments, LeakageArguments):
    title: ClassVar[str] = "Curation"
    ranges: ClassVar[dict[str, Range]] = {
        "num_captions": COUNT,
        "captions_per_label": COUNT,
        "precision": Range(0, 1, above=True),
        "confidence": Range(0.5, 0.9999),
        "num_pairs": COUNT,
        "max_captions_per_clip": COUNT,
        "max_clips_per_caption": COUNT,
        "csls_neighbours": COUNT,
        "max_pairs": COUNT,
        "batch_size": COUNT,
        "seed": SEED,
        "caption_threshold": Range(-1, 1),
        "caption_quantile": Range(0, 1),
        "pair_quantile": Range(0, 1),
        "deduplicate": Range(0, 1, above=True),
        "min_seconds": NOT_NEGATIVE,
        "max_silence": Range(0, 1),
        "max_clipping": Range(0, 1),
        "min_bandwidth_hz": NOT_NEGATIVE,
        "max_offset": Range(0, 1),
    }

    strategy: str | None = flag(None, "Which pairs to make.", choices=list(STRATEGIES))
    teacher: str | None = flag(None, TEACHER_HELP)
    trust_remote_code: bool = flag(False, TRUST_HELP)
    captions: list[str] | None = flag(
        None, "Captions to choose from: corpora as in run_teacher.py, or csv lists.", several=True
    )
    audio: list[str] | None = flag(
        None, "Recordings to match with them (the pool): NAME[:FOLDS]=PATH, a folder or a Hub id.", several=True
    )
    exclude: list[str] | None = flag(
        None,
        "Leave these recordings out of the pool: corpora, or csv files with a column youtube_id.",
        several=True,
    )
    labels: str | None = flag(None, "Class names: an evaluation set, a text file with one name per line, or a csv.")
    task: list[str] | None = flag(
        None, "Evaluation sets. Their clips are left out of captions and pool, like those of --labels.", several=True
    )
    near_duplicates: str = flag(
        "report",
        "The same recording several times in the pool: report lists them, drop keeps one of each, keep does not look.",
        choices=["report", "drop", "keep"],
    )
    deduplicate: float | None = flag(
        None,
        "Keep one of the pool's clips whose embeddings have this cosine or more, such as 0.98: the one that "
        "pairs best.",
    )
    min_seconds: float | None = flag(None, "Leave out shorter clips of the pool.")
    max_silence: float | None = flag(None, "Leave out clips with a larger share of silence (-60 dB).")
    max_clipping: float | None = flag(None, "Leave out clips with a larger share of clipped samples.")
    min_bandwidth_hz: float | None = flag(None, "Leave out clips that hold nothing at or above this frequency.")
    max_offset: float | None = flag(None, "Leave out clips with a larger DC offset. Full scale is 1.")
    caption_threshold: float | None = flag(None, "Keep captions with at least this cosine to a label.")
    caption_quantile: float | None = flag(None, "Keep captions above this quantile.")
    num_captions: int | None = flag(None, "Keep this many captions.")
    captions_per_label: int | None = flag(
        None, "Keep this many nearest captions for each label, so that every label has some."
    )
    label_prompts: bool = flag(
        False, "Add each label's own prompt, 'this is a sound of …', to the captions. Some sounds have no caption."
    )
    pair_threshold: str | None = flag(
        None,
        "Keep pairs with at least this cosine. auto: the lowest that gives --precision, as the teacher "
        "estimates. A file of verdicts: the lowest that gives it, as listeners say.",
        aliases=["--threshold"],
    )
    precision: float = flag(0.5, "Share of true pairs that --pair_threshold auto, or with verdicts, looks for.")
    confidence: float | None = flag(
        None, f"With verdicts: how sure to be that at least --precision of the pairs fit. Default: {CONFIDENCE}."
    )
    drop_rejected: bool = flag(False, "With verdicts: leave out the pairs that a listener rejected.")
    pair_quantile: float | None = flag(None, "Keep pairs above this quantile.")
    num_pairs: int | None = flag(None, "Keep this many pairs.")
    balance_labels: bool = flag(
        False, "Give each label the same number of pairs, or its own quantile, so that none crowds out another."
    )
    contrast_labels: bool = flag(
        False,
        "Rank clips by how probable the teacher finds the caption's label among all labels, not by the cosine alone: "
        "a clip that is near to every label is then near to none. --pair_threshold is then on that scale.",
    )
    max_captions_per_clip: int | None = flag(None, "Pair each clip only with this many of its nearest captions.")
    max_clips_per_caption: int | None = flag(None, "Pair each caption only with this many of its nearest clips.")
    mutual_nearest: bool = flag(False, "Keep only pairs where clip and caption are each other's nearest.")
    csls_neighbours: int | None = flag(
        None,
        "Correct for hubs: compare 2 cos - r(clip) - r(caption), where r is the mean cosine to this many "
        "nearest. --pair_threshold is then on that scale.",
    )
    max_pairs: int = flag(MAX_PAIRS, "Stop if there are more pairs than this.")
    batch_size: int = flag(32, "Windows to embed at a time.")
    dtype: str = flag(AUTO_DTYPE, DTYPE_HELP, choices=[AUTO_DTYPE, *DTYPES])
    embedding_store: str = flag("outputs/embeddings", "Folder that keeps embeddings, so that none is computed twice.")
    embed_audio: bool = flag(False, "Put the audio itself into the set's files, not only paths.")
    remake: str | None = flag(
        None, "Make this Improvement-Set (folder or Hub id) again, with the arguments that it was made with."
    )
    seed: int = flag(0, "Seed of the built-in run. Curation itself draws nothing at random.")
    output_dir: str | None = flag(None, "Folder of the set. Default: outputs/improvement_set_STRATEGY.")
    push_to_hub: str | None = flag(None, "Also upload the set, with its audio, as this Hub dataset.")
    private: bool = flag(False, "Make the new Hub dataset private.")

    def __post_init__(self):
        super().__post_init__()
        if self.strategy is None:
            raise ValueError(f"--strategy is missing: {', '.join(STRATEGIES)}")
        if self.strategy not in STRATEGIES:
            raise ValueError(f"--strategy must be one of {', '.join(STRATEGIES)}, got {self.strategy!r}")
        self.output_dir = self.output_dir or f"outputs/improvement_set_{self.strategy}"
        if self.teacher is None:
            raise ValueError("--teacher is missing: a checkpoint folder or Hub id (run_teacher.py makes one)")
        if not self.captions:
            raise ValueError("--captions is missing: a captioned corpus or a csv of captions")
        if self.strategy != "ds" and not self.audio:
            raise ValueError(f"--audio is missing: {self.strategy} matches captions with a pool of audio")
        if self.strategy != "du" and not self.labels:
            raise ValueError(f"--labels is missing: {self.strategy} selects captions near the class names")
        if self.push_to_hub:
            check_hub_id(self.push_to_hub)
        # Bad thresholds are refused before anything is computed.
        if self.pair_threshold not in (None, AUTO) and not self.is_judged:
            try:
                self.pair_threshold = float(self.pair_threshold)
            except ValueError:
                raise ValueError(
                    f"--pair_threshold must be a cosine or {AUTO}, got {self.pair_threshold!r}; verdicts: .csv, .json"
                ) from None
        self._check_verdicts()
        self.threshold("caption", 0.0)
        self.threshold("pair", 0.0)
        self._check_selection()
        self._check_matching()
        self.windows_of(self.window_seconds)
        if self.window_seconds is not None and self.strategy == "ds":
            raise ValueError(
                "--window_seconds is for pools, and ds has none: captioned clips can't be cut, because nobody knows "
                "which part a caption describes"
            )

    def threshold(self, kind: str, default: float) -> Threshold:
        """How much of `caption` or `pair` to keep: as the flags say, or the default cosine."""
        value, quantile = getattr(self, f"{kind}_threshold"), getattr(self, f"{kind}_quantile")
        count = getattr(self, f"num_{kind}s")
        if kind == "pair" and self.is_judged:  # verdicts cut the pairs that the other flags make again
            value = self.promise().lowest if (quantile, count) == (None, None) else None
        if value == AUTO or (value is None and quantile is None and count is None):
            value = default
        try:
            return Threshold(value, quantile, count)
        except ValueError as error:
            raise ValueError(f"--{kind}_threshold, --{kind}_quantile, --num_{kind}s: {error}") from error

    def _check_selection(self) -> None:
        if self.strategy == "du" and (self.captions_per_label is not None or self.label_prompts):
            name = "label_prompts" if self.label_prompts else "captions_per_label"
            raise ValueError(f"--{name} is for ds and ads: du has no labels")
        cuts = [
            name
            for name in ("caption_threshold", "caption_quantile", "num_captions")
            if getattr(self, name) is not None
        ]
        if self.captions_per_label is not None and cuts:
            raise ValueError(f"--captions_per_label and --{cuts[0]} both choose captions: give one of them")

    @property
    def is_judged(self) -> bool:
        """Whether a file of verdicts decides which pairs stay."""
        return str(self.pair_threshold).lower().endswith(SUFFIXES)

    def verdicts(self) -> Verdicts:
        """The verdicts that `pair_threshold` names."""
        verdicts = read_verdicts([self.pair_threshold])
        verdicts.check_whole()
        return verdicts

    def promise(self) -> Promise:
        """The cut that the verdicts allow. An InputError if they allow none."""
        promise = decide(self.verdicts(), self.precision, self.confidence or CONFIDENCE)
        if not np.isfinite(promise.lowest):
            raise InputError(
                f"{self.pair_threshold}: no threshold holds --precision {self.precision:g} with "
                f"{promise.confidence:.1%} confidence. {missing_words(promise.groups[-1])}"
            )
        return promise

    def _check_verdicts(self) -> None:
        if not self.is_judged:
            for name in ("confidence", "drop_rejected"):
                if getattr(self, name):
                    raise ValueError(f"--{name} is for verdicts: give --pair_threshold their file")
        elif self.strategy == "ds" or self.correction:
            name = "--strategy ds" if self.strategy == "ds" else f"--{self.correction}"
            raise ValueError(f"--pair_threshold {self.pair_threshold}: verdicts cut cosines of pairs, not with {name}")

    def _check_matching(self) -> None:
        if self.balance_labels and (self.strategy != "ads" or (self.pair_quantile, self.num_pairs) == (None, None)):
            raise ValueError("--balance_labels is for ads, and for pairs by --num_pairs or --pair_quantile")
        option = next(iter([*self.matching_options(), *([self.correction] if self.correction else [])]), None)
        screens = [name for name in SCREENING[1:] if getattr(self, name) is not None]
        screens += ["near_duplicates"] if self.near_duplicates == "drop" else []
        if self.strategy == "ds" and screens:
            raise ValueError(f"--{screens[0]} is for pools: ds has none")
        if self.strategy == "ds" and option:
            raise ValueError(f"--{option} is for pairs of du and ads: ds matches nothing")
        if self.mutual_nearest and (self.max_captions_per_clip or self.max_clips_per_caption):
            raise ValueError("--mutual_nearest sets both limits to 1: give it alone")
        if self.contrast_labels and self.strategy != "ads":
            raise ValueError("--contrast_labels is for ads: it compares clips by its labels")
        if self.csls_neighbours and self.contrast_labels:
            raise ValueError("--csls_neighbours and --contrast_labels both correct for hubs: give one of them")
        if self.correction and (self.pair_threshold, self.pair_quantile, self.num_pairs) == (None, None, None):
            raise ValueError(
                f"--{self.correction} changes the scale: give --pair_threshold, --pair_quantile or --num_pairs"
            )
        if self.pair_threshold == AUTO and self.strategy != "ads":
            raise ValueError(f"--pair_threshold {AUTO} is for ads: class names tell which pairs would be true")
        if self.pair_threshold == AUTO and option:
            raise ValueError(
                f"--pair_threshold {AUTO} estimates the precision of all pairs: give it without --{option}"
            )

    @property
    def correction(self) -> str | None:
        """The option of `CORRECTIONS` that is given."""
        return next((name for name in CORRECTIONS if getattr(self, name)), None)

    @property
    def needs_scale(self) -> bool:
        """Whether the teacher's probabilities are needed, and so the factor of its cosines."""
        return self.pair_threshold == AUTO or self.contrast_labels

    def matching_options(self) -> dict:
        """The options of `match` that restrict the pairs; none by default, as in the paper."""
        return {name: getattr(self, name) for name in MATCHING if getattr(self, name) and name != "max_pairs"}

    @property
    def listens(self) -> bool:
        """Whether any flag needs the fingerprints or the quality of the pool's clips."""
        wants_quality = any(getattr(self, name) is not None for name in QUALITY)
        return self.strategy != "ds" and (self.near_duplicates != "keep" or wants_quality)

    def to_repeat(self) -> dict:
        """The arguments that decide the result, to make the same set again."""
        names = [name for name in METHOD if self.is_judged or name not in JUDGED]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
