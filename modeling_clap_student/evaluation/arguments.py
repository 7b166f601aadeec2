"""The arguments of an evaluation."""

from dataclasses import dataclass
from typing import ClassVar

from ..checkpoints.arguments import TEACHER_HELP, TRUST_HELP
from ..data.skipping import ReadingArguments
from ..data.sources import PUBLISHED_TEST, ZSTE
from ..data.window_arguments import WindowArguments
from ..utils.arguments import COUNT, SEED, Range, flag
from ..utils.precision import AUTO, DTYPE_HELP, DTYPES


BUILT_IN = ["soundscapes"]  # the default task


@dataclass
class EvalArguments(WindowArguments, ReadingArguments):
    title: ClassVar[str] = "Evaluation"
    ranges: ClassVar[dict[str, Range]] = {"zste_scenes": Range(2), "probe": COUNT, "batch_size": COUNT, "seed": SEED}

    model: list[str] = flag(
        help=f"{TEACHER_HELP} Takes several: runs of one recipe, with their mean ± s.d. All are in memory together, "
        "and each clip is read once.",
        several=True,
    )
    task: list[str] = flag(
        None,
        "NAME[:FOLDS]=PATH, a folder with labels, or soundscapes. For retrieval: a captioned corpus, clotho=…"
        " or retrieval=… before a folder. For the order of sounds: zste=… before labelled clips. Tests by "
        "others: zste=compa=…, zste=reasonaudio=…, zste=audiotime=… Takes several. Default: the built-in "
        "soundscapes.",
        several=True,
    )
    baseline: str | None = flag(None, "Compare the others with this model.")
    trust_remote_code: bool = flag(False, TRUST_HELP)
    prompt: list[str] = flag(
        None,
        "The text for a class, with {} for its name: 'this is a sound of {}'. Of several, the mean embedding counts.",
        several=True,
    )
    class_descriptions: str | None = flag(
        None, "A .yaml, .json or .csv file with texts that replace the classes' names."
    )
    zste_scenes: int = flag(1000, "Scenes to draw for a task zste=…, the same in each run.")
    zste_manifest: str | None = flag(None, "A csv of scenes from an earlier run, instead of drawn ones.")
    probe: int | None = flag(
        None,
        "Also train a linear probe on this many clips of each class, such as 8, and test it on the others, ten times.",
    )
    plot_embeddings: bool = flag(False, "Draw each task's clips and classes in a plane.")
    plot_reliability: bool = flag(False, "Draw whether the model is right as often as it is sure.")
    window_scores: bool = flag(
        False,
        "Write where in each labelled clip its classes are: window_scores.csv has the probabilities of each "
        "window. Default length of a window: the model's own.",
    )
    output_dir: str = flag("outputs/eval", "Folder for results.json, results.md and charts.")
    output_json: str | None = flag(None, "Write results.json here instead.")
    batch_size: int = flag(32, "Windows to embed at a time.")
    dtype: str = flag(AUTO, DTYPE_HELP, choices=[AUTO, *DTYPES])
    seed: int = flag(0, "Seed of the bootstrap intervals. Embedding draws nothing at random.")

    def __post_init__(self):
        super().__post_init__()
        self.task = self.task or list(BUILT_IN)
        for name, values in (("model", self.models), ("task", self.task)):
            if again := [value for place, value in enumerate(values) if value in values[:place]]:
                raise ValueError(f"--{name} {again[0]} is given twice")
        scenes = [name for name in self.task if name.startswith(ZSTE) and not PUBLISHED_TEST.fullmatch(name)]
        if self.zste_manifest and len(scenes) != 1:
            raise ValueError("--zste_manifest needs one --task zste=…, whose clips it names")
        for name in ("window_seconds", "hop_seconds"):
            if getattr(self, name) is not None and not self.window_scores:
                raise ValueError(f"--{name} is for the table of --window_scores: give that too")
        if self.window_seconds is not None:
            self.windows_of(self.window_seconds)

    @property
    def models(self) -> list[str]:
        """The baseline, if there is one, and the models."""
        return [*([self.baseline] if self.baseline else []), *self.model]
