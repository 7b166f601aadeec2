"""The arguments of temporal post-training: transformers' own, and those of TeminAL."""

from dataclasses import dataclass
from typing import ClassVar

from transformers.trainer_utils import SaveStrategy

from ..data.skipping import LeakageArguments
from ..training.arguments import ClapTrainingArguments
from ..utils.arguments import COUNT, SHARE, Range, flag


STAGES = ("a", "b", "joint")
CONSTRUCTIONS = ("ours", "authors")


@dataclass(repr=False)  # the base class's hides tokens
class TemporalTrainingArguments(ClapTrainingArguments):
    """The settings of TeminAL's stages. The weights of the loss are `temporal_contrastive_loss`'s."""

    title: ClassVar[str] = "TeminAL's loss"
    ranges: ClassVar[dict[str, Range]] = {
        "alpha_same": Range(0, 100),
        "alpha_cross": Range(0, 100),
        "alpha_same_overlay": Range(0, 100),
        "alpha_cross_overlay": Range(0, 100),
        "reverse_weight": Range(0, 100),
        "overlay_weight": Range(0, 100),
        "retention_weight": Range(0, 1000),
        "encoder_learning_rate": SHARE,
        "max_steps": COUNT,
        "per_device_train_batch_size": Range(2),
        "num_scenes": Range(2),
        "validation_scenes": Range(2),
    }

    alpha_same: float = flag(
        1.0, "Weight, among the negatives, of the same sounds in the other order. 0: leave them out."
    )
    alpha_cross: float = flag(1.0, "The same weight for other sounds in the other order.")
    alpha_same_overlay: float | None = flag(
        None, "The same weight for the same sounds at once. Default: --alpha_same."
    )
    alpha_cross_overlay: float | None = flag(None, "The same weight for other sounds at once. Default: --alpha_cross.")
    reverse_weight: float = flag(1.0, "Weight of the loss of reversed scenes.")
    overlay_weight: float = flag(1.0, "Weight of the loss of overlays.")
    retention_weight: float = flag(
        10.0, "How firmly single sounds and their prompts stay where they were. 0: not at all."
    )
    encoder_learning_rate: float = flag(
        1e-5, "Learning rate of the towers' layers. --learning_rate is for the layers above them."
    )
    freeze_audio_encoder: bool = flag(False, "Do not train the convolutions. This is many times as fast.")
    freeze_text_encoder: bool = flag(False, "Do not train the text tower.")
    frozen_pooling: bool = flag(
        False,
        "Repeat the authors' arm: keep CLAP's pooling, which hears no order, and train only what lies above "
        "it and the last layer of the text tower.",
    )
    num_scenes: int = flag(4000, "Different scenes to make. With --freeze_audio_encoder each is rendered once.")
    validation_scenes: int = flag(200, "Scenes that select the checkpoint.")
    max_steps: int = flag(600, "Steps to train.")
    per_device_train_batch_size: int = flag(32, "Scenes per process and step, each in all orders.")
    max_grad_norm: float = flag(0.5, "Cut gradients that are longer than this.")
    eval_strategy: str = flag("steps", "When to score the model on validation scenes.")
    eval_steps: float | None = flag(100, "Score the model every this many steps.")
    save_strategy: str = flag("steps", "When to save a checkpoint.", choices=[moment.value for moment in SaveStrategy])
    save_steps: float = flag(100, "Save a checkpoint every this many steps.")
    load_best_model_at_end: bool = flag(True, "End with the best checkpoint.")
    metric_for_best_model: str | None = flag(
        "selection",
        "What selects the checkpoint: selection (single sounds and order), order, or for stage A accuracy_1a.",
    )
    greater_is_better: bool | None = flag(True, "More of that metric is better.")

    def loss_weights(self, num_blocks: int) -> dict:
        """For `temporal_contrastive_loss` of stage B: each α (between orders, with overlays), and the blocks'."""
        same, cross = self.alpha_same_overlay, self.alpha_cross_overlay
        return {
            "alpha_same": (self.alpha_same, self.alpha_same if same is None else same),
            "alpha_cross": (self.alpha_cross, self.alpha_cross if cross is None else cross),
            "block_weights": (1.0, self.reverse_weight, self.overlay_weight)[:num_blocks],
        }


@dataclass
class TemporalArguments(LeakageArguments):
    title: ClassVar[str] = "Data and stage"
    ranges: ClassVar[dict[str, Range]] = {
        "paraphrase_from": SHARE,
        "position_captions": SHARE,
        "name_captions": SHARE,
        "max_sounds": Range(2, 3),
        "word_steps": Range(0),
    }

    stage: str = flag(
        help="a: one sound or two. b: their order. ab: a, then b. joint: both in each batch.", choices=[*STAGES, "ab"]
    )
    model: str | None = flag(None, "Start from this checkpoint: a folder or Hub id.")
    base: str | None = flag(None, "Keep what this checkpoint knows of single sounds. Default: --model.")
    clips: list[str] | None = flag(
        None,
        "Labelled clips to make scenes of: NAME[:FOLDS]=PATH, or a folder with one folder per class.",
        several=True,
    )
    validation_clips: str | None = flag(
        None, "Labelled clips that select the checkpoint. Default: a tenth of the recordings is held out."
    )
    task: list[str] | None = flag(None, "Evaluation sets. Their clips are left out of the training.", several=True)
    held_out_classes: list[str] = flag(help="Classes that training never hears.", default_factory=list, nargs="+")
    overlays: bool = flag(True, "Let stage B also play both sounds at once (while).")
    doubles: str = flag(
        "mixed",
        "Two sounds of stage A: mixed plays half of them at once; concat plays all one after the other.",
        choices=["mixed", "concat"],
    )
    paraphrase_from: float = flag(
        0.0,
        "From this share of the run on, give scenes a second caption: other words for the order, a place, a name. 1: "
        "never. With --word_steps 0 take 0.45: before, a model has no order to tell in other words.",
    )
    hold_out_connectives: bool = flag(
        False,
        "Keep 'after', 'then', 'followed by' and other common words from training. Task 6D then tells whether their "
        "meaning was learnt without them.",
    )
    word_steps: int = flag(
        1000, "First teach the text tower the words for an order, without sounds, for this many steps. 0: don't."
    )
    prompted: bool = flag(True, "Begin half of stage B's captions with 'this is a sound of'.")
    position_captions: float = flag(0.25, "Share of the second captions that say one sound's place: 'it ends with …'.")
    name_captions: float = flag(0.15, "Share of the second captions that name one of the sounds.")
    max_sounds: int = flag(2, "3: give a third of stage B's scenes three sounds. That takes three classes.")
    construction: str = flag(
        "ours",
        "How to make scenes. authors: 5 s and 5 s as they are, and the plain sum for while.",
        choices=list(CONSTRUCTIONS),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.position_captions + self.name_captions > 1:
            raise ValueError("--position_captions and --name_captions are shares of the same captions: 1 at the most")
        if self.max_sounds > 2 and self.construction != "ours":
            raise ValueError("--max_sounds 3 goes with --construction ours: the authors have two sounds")
