"""The flags of the commands that are no stage's own."""

from dataclasses import dataclass, field
from typing import ClassVar

from ..checkpoints.arguments import ModelArguments
from ..curation.arguments import STRATEGIES
from ..data.skipping import ReadingArguments
from ..data.sources import ZSTE
from ..soundscapes import demo
from ..temporal.arguments import CONSTRUCTIONS, STAGES
from ..training.arguments import ClapStudentTrainingArguments
from ..utils.arguments import COUNT, SEED, SHARE, Range
from ..utils.precision import AUTO, DTYPE_HELP, DTYPES


@dataclass
class TeacherArguments(ReadingArguments):
    ranges: ClassVar[dict[str, Range]] = {"subset_fraction": Range(0, 1, above=True)}

    corpus: list[str] | None = field(
        default=None,
        metadata={
            "help": "Captioned audio: NAME[:FOLDS]=PATH, a folder, a csv or a Hub id. May be given again.",
            "action": "extend",
            "nargs": "+",
        },
    )
    task: list[str] | None = field(
        default=None,
        metadata={
            "help": "Evaluation sets, whose clips are left out of the training.",
            "action": "extend",
            "nargs": "+",
        },
    )
    subset_fraction: float = field(default=1.0, metadata={"help": "Share of the pairs to train on."})
    dry_run: bool = field(default=False, metadata={"help": "Only read the inputs and say what is there."})

    def __post_init__(self):
        super().__post_init__()
        self.corpus = self.corpus or [demo.NAME]


@dataclass
class StudentArguments(ReadingArguments):
    strategy: str = field(metadata={"help": "Which pairs to train on.", "choices": [*STRATEGIES, "none"]})
    teacher: str | None = field(default=None, metadata={"help": "Checkpoint folder or Hub id."})
    improvement_set: str | None = field(default=None, metadata={"help": "What curate.py made: folder or Hub id."})
    replay: list[str] | None = field(
        default=None,
        metadata={
            "help": "Corpora to rehearse, instead of what the Improvement-Set brings; with --strategy none the "
            "corpora to train on, instead of the teacher's own.",
            "action": "extend",
            "nargs": "+",
        },
    )
    task: list[str] | None = field(
        default=None,
        metadata={
            "help": "Evaluation sets for teacher and student: NAME[:FOLDS]=PATH. Never trained on.",
            "action": "extend",
            "nargs": "+",
        },
    )
    init: str = field(
        default="teacher",
        metadata={
            "help": "What the student starts from: the teacher, a checkpoint (folder or Hub id), or fresh: a new "
            "model of the sizes and weights that --text_model, --audio_weights, --base_channels … say."
        },
    )
    dry_run: bool = field(default=False, metadata={"help": "Only read the inputs and say what is there."})


@dataclass
class EvalArguments(ReadingArguments):
    ranges: ClassVar[dict[str, Range]] = {"zste_scenes": Range(2), "batch_size": COUNT, "seed": SEED}

    model: list[str] = field(
        metadata={
            "help": "Checkpoint folder or Hub id. Of several, runs of one recipe, mean ± s.d. is told too; they are "
            "held in memory together, and a clip is read once for all.",
            "action": "extend",
            "nargs": "+",
        }
    )
    task: list[str] = field(
        default=None,
        metadata={
            "help": "NAME[:FOLDS]=PATH, a folder with labels, or soundscapes; for retrieval a captioned corpus, "
            "clotho=… or retrieval=… before a folder; zste=… for scenes of labelled clips, and whether their order is "
            "heard. May be given again.",
            "action": "extend",
            "nargs": "+",
        },
    )
    baseline: str | None = field(default=None, metadata={"help": "A model that the others are compared with."})
    prompt: list[str] = field(
        default=None,
        metadata={
            "help": "What stands for a class, {} for its name: 'this is a sound of {}'. Of several, the mean.",
            "action": "extend",
            "nargs": "+",
        },
    )
    class_descriptions: str | None = field(
        default=None,
        metadata={"help": "A .yaml, .json or .csv file: texts that take the place of each class's name."},
    )
    zste_scenes: int = field(default=1000, metadata={"help": "Scenes to draw for a task zste=…, the same each time."})
    zste_manifest: str | None = field(
        default=None, metadata={"help": "A csv of scenes that an earlier run left, in place of drawn ones."}
    )
    plot_embeddings: bool = field(default=False, metadata={"help": "Draw each task's clips and classes in a plane."})
    output_dir: str = field(default="outputs/eval", metadata={"help": "Where results.json, .md and charts go."})
    output_json: str | None = field(default=None, metadata={"help": "Another place for results.json."})
    batch_size: int = field(default=32, metadata={"help": "Windows to embed at a time."})
    dtype: str = field(default=AUTO, metadata={"help": DTYPE_HELP, "choices": [AUTO, *DTYPES]})
    seed: int = field(default=0, metadata={"help": "Of the bootstrap intervals; embedding draws nothing."})
    dry_run: bool = field(default=False, metadata={"help": "Only read the inputs and say what is there."})

    def __post_init__(self):
        super().__post_init__()
        self.task = self.task or ["soundscapes"]
        for flag, names in (("model", self.models), ("task", self.task)):
            if again := [name for place, name in enumerate(names) if name in names[:place]]:
                raise ValueError(f"--{flag} {again[0]} is given twice")
        if self.zste_manifest and sum(name.startswith(ZSTE) for name in self.task) != 1:
            raise ValueError("--zste_manifest needs one --task zste=…, whose clips it names")

    @property
    def models(self) -> list[str]:
        """The baseline, if there is one, and the models."""
        return [*([self.baseline] if self.baseline else []), *self.model]


@dataclass
class TemporalArguments(ReadingArguments):
    ranges: ClassVar[dict[str, Range]] = {"paraphrase_from": SHARE}

    stage: str = field(
        metadata={
            "help": "a: one sound or two; b: their order; ab: b after a; joint: both in each batch.",
            "choices": [*STAGES, "ab"],
        }
    )
    model: str | None = field(default=None, metadata={"help": "What to start from: checkpoint folder or Hub id."})
    base: str | None = field(
        default=None,
        metadata={"help": "The checkpoint whose knowledge of single sounds is kept; by default --model."},
    )
    clips: list[str] | None = field(
        default=None,
        metadata={
            "help": "Labelled clips to make scenes of: NAME[:FOLDS]=PATH, or a folder a class.",
            "action": "extend",
            "nargs": "+",
        },
    )
    validation_clips: str | None = field(
        default=None,
        metadata={"help": "Others that select the checkpoint; by default a tenth of the recordings is held out."},
    )
    task: list[str] | None = field(
        default=None,
        metadata={"help": "Evaluation sets, whose clips are left out.", "action": "extend", "nargs": "+"},
    )
    held_out_classes: list[str] = field(
        default_factory=list, metadata={"help": "Classes that training never hears.", "nargs": "+"}
    )
    overlays: bool = field(default=True, metadata={"help": "Whether stage B has both sounds at once (while)."})
    doubles: str = field(
        default="mixed",
        metadata={
            "help": "Two sounds of stage A: half of them at once, or all one after the other.",
            "choices": ["mixed", "concat"],
        },
    )
    paraphrase_from: float = field(
        default=0.5,
        metadata={
            "help": "When captions begin to say before and while in other words too, as a share of the run; 1: never."
        },
    )
    prompted: bool = field(
        default=True, metadata={"help": "Whether half of stage B's captions begin with 'this is a sound of'."}
    )
    construction: str = field(
        default="ours",
        metadata={
            "help": "How scenes are made; authors: 5 s and 5 s as they are, the plain sum for while.",
            "choices": list(CONSTRUCTIONS),
        },
    )
    dry_run: bool = field(default=False, metadata={"help": "Only read the inputs and say what is there."})


TEACHER = (TeacherArguments, ModelArguments, ClapStudentTrainingArguments)  # all flags of a teacher
