"""The arguments of an evaluation."""

from dataclasses import dataclass
from typing import ClassVar

from ..checkpoints.arguments import TEACHER_HELP, TRUST_HELP
from ..data.skipping import ReadingArguments
from ..data.sources import PUBLISHED_TEST, ZSTE
from ..data.window_arguments import WindowArguments
from ..utils.arguments import COUNT, SEED, Range, flag
from ..utils.precision import AUTO, DTYPE_HELP, DTYPES


BUILT_IN = ["soundscapes"]  # the task where none is named


@dataclass
class EvalArguments(WindowArguments, ReadingArguments):
    title: ClassVar[str] = "Evaluation"
    ranges: ClassVar[dict[str, Range]] = {"zste_scenes": Range(2), "probe": COUNT, "batch_size": COUNT, "seed": SEED}

    model: list[str] = flag(
        help=f"{TEACHER_HELP} Of several, runs of one recipe, mean ± s.d. is told too; they are "
        "held in memory together, and a clip is read once for all.",
        several=True,
    )
    task: list[str] = flag(
        None,
        "NAME[:FOLDS]=PATH, a folder with labels, or soundscapes; for retrieval a captioned corpus, "
        "clotho=… or retrieval=… before a folder; zste=… for scenes of labelled clips, and whether their order is "
        "heard; zste=compa=…, zste=reasonaudio=…, zste=audiotime=… for tests that others wrote. May be given again.",
        several=True,
    )
    baseline: str | None = flag(None, "A model that the others are compared with.")
    trust_remote_code: bool = flag(False, TRUST_HELP)
    prompt: list[str] = flag(
        None, "What stands for a class, {} for its name: 'this is a sound of {}'. Of several, the mean.", several=True
    )
    class_descriptions: str | None = flag(
        None, "A .yaml, .json or .csv file: texts that take the place of each class's name."
    )
    zste_scenes: int = flag(1000, "Scenes to draw for a task zste=…, the same each time.")
    zste_manifest: str | None = flag(None, "A csv of scenes that an earlier run left, in place of drawn ones.")
    probe: int | None = flag(
        None, "Also train a linear probe on so many clips of each class, ten times, and test it on the others: 8."
    )
    plot_embeddings: bool = flag(False, "Draw each task's clips and classes in a plane.")
    plot_reliability: bool = flag(False, "Draw whether each task's classes are right as often as the model is sure.")
    window_scores: bool = flag(
        False,
        "Write where in each labelled clip its classes are: window_scores.csv, the probabilities of each window. "
        "Without --window_seconds windows are as long as the model's own.",
    )
    output_dir: str = flag("outputs/eval", "Where results.json, .md and charts go.")
    output_json: str | None = flag(None, "Another place for results.json.")
    batch_size: int = flag(32, "Windows to embed at a time.")
    dtype: str = flag(AUTO, DTYPE_HELP, choices=[AUTO, *DTYPES])
    seed: int = flag(0, "Of the bootstrap intervals; embedding draws nothing.")

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
