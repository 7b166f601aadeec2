"""What ZSTE evaluates on: a labelled set, and scenes of its clips."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset

from ...data.benchmarks import ZSTE, Benchmark, read_benchmark, short_name
from ...data.sources import ExclusionLog
from ...errors import InputError
from ...temporal.scenes import Deck, Scene, read_manifest


SEED = 0  # of all scenes that are drawn, so that two runs hear the same


@dataclass(frozen=True)
class SceneSet:
    """A task of zero-shot temporal evaluation.

    Attributes:
        name: as the user named it, `zste=…`.
        benchmark: its clips and classes.
        scenes: of these clips.
        manifest: the file that the scenes were read from; None where they were drawn, from `SEED`.
    """

    name: str
    benchmark: Benchmark
    scenes: list[Scene] = field(repr=False)
    manifest: str | None = None

    @property
    def layout(self) -> str:
        """The kind of set, for instance `esc50`."""
        return self.benchmark.layout

    @property
    def clips(self) -> Dataset:
        """The set's clips."""
        return self.benchmark.clips

    @property
    def class_names(self) -> list[str]:
        """The set's classes, sorted."""
        return self.benchmark.class_names

    @property
    def summary(self) -> str:
        """How much there is, in a line."""
        unseen = sum(not scene.seen_pair for scene in self.scenes)
        return (
            f"{self.name}: {len(self.scenes)} scenes, {unseen} of classes that training never hears together; "
            f"{len(self.clips)} single clips of {len(self.class_names)} classes"
        )


def file_stem(scene_set: SceneSet) -> str:
    """What its files are called after: `esc50_5` for `zste=esc50:5=/data/ESC-50`."""
    return re.sub(r"[^\w.-]+", "_", short_name(scene_set.name.removeprefix(ZSTE)))


def manifest_name(scene_set: SceneSet) -> str:
    """The file of its scenes in the output folder."""
    return f"zste_manifest_{file_stem(scene_set)}.csv"


def read_scenes(spec: str, count: int, manifest: str | None, exclusions: ExclusionLog) -> SceneSet:
    """Reads a labelled set, and reads or draws its scenes.

    Args:
        spec: `zste=` and what `read_benchmark` takes.
        count: scenes to draw.
        manifest: a csv of scenes made before, in place of drawn ones.
        exclusions: gets the number of clips that were left out, and why.

    Raises:
        InputError: a spec or a manifest that can't be read, fewer than 2 classes with clips or 2 scenes, scenes of
            other clips or with other classes than the set has.
    """
    benchmark = read_benchmark(spec.removeprefix(ZSTE), exclusions)
    if manifest is None:
        return SceneSet(spec, benchmark, Deck(benchmark.clips, SEED).scenes(count))
    scenes = read_manifest(manifest)
    _check(scenes, benchmark, manifest)
    return SceneSet(spec, benchmark, scenes, str(Path(manifest).resolve()))


def _check(scenes: list[Scene], benchmark: Benchmark, manifest: str) -> None:
    if len(scenes) < 2 or len({scene.id for scene in scenes}) < len(scenes) or min(scene.id for scene in scenes) < 0:
        raise InputError(f"--zste_manifest {manifest} needs 2 scenes or more, each with an id of its own from 0 on")
    label_of = dict(zip(benchmark.clips["audio_id"][:], benchmark.clips["label"][:], strict=True))
    for scene in scenes:
        for clip, name in ((scene.clip_a, scene.class_a), (scene.clip_b, scene.class_b)):
            if clip not in label_of:
                raise InputError(f"--zste_manifest {manifest} names the clip {clip!r}, which {benchmark.name} lacks")
            if label_of[clip] != name:
                raise InputError(
                    f"--zste_manifest {manifest}: {clip!r} is of the class {label_of[clip]!r} in {benchmark.name}, "
                    f"not {name!r}"
                )
        if scene.class_a == scene.class_b:
            raise InputError(f"--zste_manifest {manifest}: scene {scene.id} has one class, {scene.class_a!r}, twice")
