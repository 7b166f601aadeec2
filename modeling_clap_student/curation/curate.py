"""Curation: a teacher pairs captions with unlabelled audio. The result is an Improvement-Set.

Source: Wang et al. 2023, arXiv 2305.01864, section 2.2.
"""

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset, IterableDataset, load_dataset

from ..checkpoints.inference import for_inference
from ..checkpoints.loading import as_checkpoint, push_folder
from ..data.decoding import readable_rows
from ..data.skipping import SkippedClips, report_skipped
from ..data.sound_store import SoundStore
from ..data.sources import ExclusionLog, report_exclusions
from ..data.windows import check_lengths
from ..errors import InputError
from ..hub_clap_student import fingerprint
from ..utils.console import quiet, say
from ..utils.outputs import whole_folder
from ..utils.precision import settle_dtype
from ..utils.processes import from_main_process, own_device
from ..version import __version__
from . import strategies
from .advisor import AUTO, estimate_precision
from .arguments import CurateArguments, Threshold
from .collapse import choice_signs, pair_signs, pool_signs, selection_signs
from .embedder import StoredEmbedder
from .embedding_store import EmbeddingStore, StoredVectors
from .improvement_set import (
    is_improvement_set,
    pair_precision,
    read_streamed_audio,
    save_improvement_set,
    save_streamed_pairs,
)
from .inputs import CurationInputs, read_inputs
from .matching import similarity_histogram
from .report.page import ReportData, write_report
from .screening import DUPLICATES_LIST, QUALITY_LIST, PoolScreen, Screening, captioned_clips
from .strategies import Curated, SelectedCaptions
from .verdict_cut import keep_promised
from .window_maps import map_longest


SCRATCH = ".pairs.arrow"  # for pairs that do not fit into memory


@dataclass
class Improvement:
    """The result of a curation.

    Attributes:
        pairs: the Improvement-Set.
        replay: captioned clips to replay; None if none has audio.
        provenance: how the set was made, and its counts.
        facts: further content of the report, see `ReportData`.
        folder: where its files are: `skipped.csv`, and the pairs of a stream.
        replay_decodes: whether every clip of `replay` was decoded. If not, they are decoded before they go into a
            file.
    """

    pairs: Dataset
    replay: Dataset | None
    provenance: dict[str, Any]
    facts: dict[str, Any]
    folder: Path
    replay_decodes: bool = False
    _work: tempfile.TemporaryDirectory | None = field(default=None, repr=False)

    def save(self, output_dir: str | Path, embed_audio: bool = False) -> None:
        """Writes the set, its card and its report into a folder, completely or not at all.

        Args:
            output_dir: a new folder, or one with an older set, which is moved aside.
            embed_audio: put the audio itself into the files, instead of its paths.

        Raises:
            InputError: the folder holds something else, or can't be written.
        """
        with whole_folder(output_dir, replaces=is_improvement_set) as folder:
            if PartialState().is_main_process:
                self.write(folder, str(output_dir), embed_audio)
                for name in (QUALITY_LIST, DUPLICATES_LIST):
                    if (self.folder / name).exists():
                        shutil.copy(self.folder / name, folder)

    def push_to_hub(self, repo_id: str, private: bool | None = None, token: str | None = None) -> str:
        """Uploads the set with its audio inside, in one commit. Returns its address.

        Raises:
            InputError: no permission, no connection, or an interrupted upload.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.write(Path(folder), repo_id, embed_audio=True)
            return push_folder(folder, repo_id, private, repo_type="dataset", token=token)

    def write_report(self, path: str | Path) -> None:
        """Writes the page on which a person judges the set, by eye and by ear."""
        precision = pair_precision(self.pairs)
        write_report(Path(path), ReportData(self.pairs, self.provenance, pair_precision=precision, **self.facts))

    def write(self, folder: Path, name: str, embed_audio: bool = False, has_pairs: bool = False) -> None:
        """Writes the set's files into an existing folder. The card calls the set `name`: its present or future place.

        With `has_pairs`, the pairs are already there, as for a stream.
        """
        replay = self.replay
        if embed_audio and replay is not None and not self.replay_decodes:
            replay = replay.select(readable_rows(replay, SkippedClips(self.folder / "skipped.csv"))) or None
        provenance = self.provenance | {"num_replay": 0 if replay is None else len(replay)}
        pairs = None if has_pairs else self.pairs
        save_improvement_set(folder, pairs, replay, provenance, name, embed_audio)
        try:
            self.write_report(folder / "report.html")
        except Exception as error:  # the set is complete without it: an error here must not lose hours of work
            say(f"no report.html: {type(error).__name__}: {error}")


def curate(
    teacher,
    *,
    strategy: str,
    captions,
    audio=None,
    labels=None,
    processor=None,
    progress: bool = True,
    **options,
) -> Improvement:
    """Pairs captions with unlabelled audio.

    Args:
        teacher: a `ClapStudentModel`, transformers' `ClapModel`, another transformers model with `get_audio_features`
            and `get_text_features`, or a `SentenceTransformer` that embeds both; or any value of `--teacher`.
        strategy: `du`, `ds` or `ads`.
        captions: any value of `--captions`, one or several; a list of texts; or a `Dataset` with captions, and with
            audio for ds and for replay.
        audio: any value of `--audio`, one or several; a list of audio files; or a `Dataset` with audio.
        labels: any value of `--labels`, or a list of class names.
        processor: the teacher's, if the teacher has none.
        progress: whether to show bars.
        options: further flags of curate.py by their names: `num_pairs=20_000`, `task=…`, `batch_size=…`.

    Returns:
        the pairs, the replay set and their provenance. Only the embedding store is written.

    Raises:
        InputError: the error that the command would print.
    """
    trust = options.get("trust_remote_code", False)
    teacher = teacher if processor is None else (teacher, processor)
    model, processor = as_checkpoint(teacher, trust_remote_code=trust)
    try:
        args = CurateArguments(
            strategy=strategy,
            teacher=getattr(model.config, "_name_or_path", "") or "a model",
            captions=_names(captions),
            audio=None if audio is None else _names(audio),
            labels=labels if isinstance(labels, str) or labels is None else ", ".join(map(str, labels)) or "no names",
            **options,
        )
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from error
    work = tempfile.TemporaryDirectory(prefix="clap_curation_")
    folder = Path(from_main_process(lambda: work.name))
    with quiet(progress):
        class_names = None if labels is None or isinstance(labels, str) else list(labels)
        inputs = read_inputs(args, captions, audio, class_names)
        skipped = SkippedClips(folder / "skipped.csv", args.max_skipped_fraction)
        improvement = run_curation(args, inputs, model, processor, folder, skipped)
    if inputs.is_streamed:
        files = sorted(map(str, (folder / "data").glob("*.parquet")))
        improvement.pairs = load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder / "cache"))
        improvement.facts.pop("audio_of")
    improvement._work = work
    return improvement


def _names(data) -> list[str]:
    """The provenance's description of captions or audio: their names, or how many there are."""
    if isinstance(data, (str, Path)):
        return [str(data)]
    if isinstance(data, Dataset):
        return [f"a table of {len(data)} rows"]
    if isinstance(data, IterableDataset):
        return ["a stream"]
    return [name for item in data for name in _names(item)] if len(data) <= 20 else [f"a list of {len(data)}"]


def run_curation(
    args: CurateArguments, inputs: CurationInputs, model, processor, folder: Path, skipped: SkippedClips
) -> Improvement:
    """Embeds, selects, matches. All processes must call it.

    Args:
        model, processor: the teacher.
        folder: for pairs that do not fit into memory, and for those of a stream. It must exist as long as they are
            used.
        skipped: lists the clips that can't be read.
    """
    settle_dtype(args, own_device().type)
    if args.label_prompts:
        inputs = replace(inputs, captions=strategies.with_prompts(inputs.captions, inputs.class_names))
    publishes = bool(args.embed_audio or args.push_to_hub)
    encoder = for_inference(model.to(PartialState().device), args.dtype)
    made_by = provenance(args, model, inputs.class_names)
    scale = model.logit_scale.exp().item() if args.needs_scale else None
    store = EmbeddingStore(args.embedding_store, model, processor, args.batch_size, args.dtype)
    listens = args.listens or bool(inputs.sounds and inputs.pool is not None)
    sounds = SoundStore(args.fingerprint_store) if listens else None
    embedder = StoredEmbedder(encoder, processor, store, skipped, args.batch_size, sounds)
    caption_embeds = embedder.texts(inputs.captions["caption"], "embedding captions")
    selected = None if args.strategy == "du" else select(args, inputs, embedder, caption_embeds)
    clips, replay, facts, signs = None, None, {"selected": None}, []
    if selected is not None:
        signs += selection_signs(selected, inputs.class_names)
        names = enumerate(inputs.class_names)
        facts["selected"] = {name: selected.similarities[selected.labels == number] for number, name in names}
    if args.strategy == "ds":
        assert selected is not None
        pairs = strategies.similar_training_pairs(inputs, selected, embedder, caption_embeds)
    else:
        clips, clip_embeds = embed_pool(embedder, inputs)
        if inputs.windows is not None and selected is not None and PartialState().is_main_process:
            heard = clips, clip_embeds, selected.label_embeds, inputs.class_names, model
            facts["window_maps"] = map_longest(*heard)  # before any window is left out
        clips, clip_embeds, screened = screen(
            args, inputs, embedder, clips, clip_embeds, caption_embeds, selected, folder
        )
        made_by, facts = made_by | screened.counts, facts | {"faults": screened.examples}
        curated, outcome = from_main_process(
            lambda: match_clips(args, inputs, scale, clips, clip_embeds, caption_embeds, selected, folder / SCRATCH)
        )
        pairs, made_by = curated.pairs, made_by | outcome
        signs += choice_signs(len(pairs), len(clips), len(inputs.captions if selected is None else selected.indices))
        if args.is_judged:
            pairs, promised = keep_promised(pairs, made_by, args.verdicts(), args.promise(), args.drop_rejected)
            made_by |= promised
        if selected is not None:
            looked_at = clip_embeds, selected.label_embeds, inputs.class_names
            signs += from_main_process(lambda: pool_signs(*looked_at))
        replay = strategies.replay_set(inputs, selected, skipped if publishes else None)
        if PartialState().is_main_process:
            rows = slice(None) if selected is None else selected.indices
            facts |= similarity_histogram(clip_embeds, caption_embeds[rows]).facts
    if selected is not None:
        made_by |= {"caption_threshold": selected.threshold, "num_captions": len(selected.indices)}
    signs += pair_signs(pairs, selected, inputs.class_names)
    for sign in signs:
        say(f"caution: {sign}")
    made_by |= {
        "num_pairs": len(pairs),
        "num_clips": len(pairs.unique("audio_id")),
        "num_replay": 0 if replay is None else len(replay),
        "num_skipped": report_skipped(skipped, Path(str(args.output_dir))),
    } | ({"cautions": signs} if signs else {})
    if isinstance(inputs.pool, IterableDataset) and clips is not None:
        save_streamed_pairs(folder, pairs, clips, inputs.pool)
        facts["audio_of"] = partial(read_streamed_audio, folder, pairs)
    facts |= {"num_pool_clips": None if clips is None else len(clips), "num_captions": len(inputs.captions)}
    return Improvement(pairs, replay, made_by, facts, folder, publishes)


def provenance(args: CurateArguments, model, class_names: list[str]) -> dict:
    """Everything that is needed to make the set again. The results are added later."""
    return {
        "strategy": args.strategy,
        "teacher": args.teacher,
        "teacher_fingerprint": fingerprint(model),
        "teacher_revision": getattr(model.config, "_commit_hash", None),
        "dtype": args.dtype,
        "prompt": strategies.PROMPT,
        "captions": args.captions,
        "audio": args.audio,
        "exclude": args.exclude,
        "labels": class_names,
        "seed": args.seed,
        "num_threads": torch.get_num_threads(),
        "version": __version__,
        "arguments": args.to_repeat(),
    } | ({"window_seconds": args.window_seconds, "hop_seconds": args.hop_seconds} if args.window_seconds else {})


def select(
    args: CurateArguments, inputs: CurationInputs, embedder: StoredEmbedder, caption_embeds: StoredVectors
) -> SelectedCaptions:
    """The captions near one of the labels."""
    labels = embedder.texts(strategies.label_prompts(inputs.class_names), "embedding labels")
    if args.captions_per_label is not None:
        selected = strategies.nearest_captions(caption_embeds[:], labels[:], args.captions_per_label)
    else:
        threshold = args.threshold("caption", strategies.paper_thresholds(inputs.layout)[0])
        selected = strategies.select_captions(caption_embeds[:], labels[:], threshold)
    say(f"{len(selected.indices)} captions have a cosine of {selected.threshold:.3f} or more with a label")
    if len(selected.indices) == 0:
        raise strategies.none_reached("caption", selected)
    return selected


def embed_pool(embedder: StoredEmbedder, inputs: CurationInputs) -> tuple[Dataset, StoredVectors]:
    """A table of the readable clips, and their embeddings. For a stream, the table has no audio."""
    if not isinstance(inputs.pool, IterableDataset):
        assert inputs.pool is not None
        embeds, rows = embedder.table(inputs.pool, "embedding the pool")
        return inputs.pool.select(rows), embeds
    exclusions = ExclusionLog()
    embeds, clips = embedder.stream(inputs.pool, inputs.leakage, exclusions, "embedding the stream")
    report_exclusions(exclusions)
    if inputs.windows is not None:
        check_lengths(zip(clips["start"], clips["end"], strict=True), inputs.windows, "the stream")
    return clips, embeds


def screen(
    args: CurateArguments,
    inputs: CurationInputs,
    embedder: StoredEmbedder,
    clips: Dataset,
    clip_embeds: StoredVectors,
    caption_embeds: StoredVectors,
    selected: SelectedCaptions | None,
    folder: Path,
) -> tuple[Dataset, StoredVectors, Screening]:
    """The clips to pair, their embeddings, and the report's facts about the other clips."""
    if inputs.sounds:
        inputs.sounds.prepare()  # all processes together
    extractor = embedder.processor.feature_extractor
    # A window may be half a sample shorter than requested.
    wanted = np.inf if args.window_seconds is None else args.window_seconds - 0.001
    window_seconds = min(extractor.window_samples / extractor.sampling_rate, wanted)

    def run() -> Screening:
        texts = caption_embeds[:] if selected is None else caption_embeds[selected.indices]
        sounds, captioned_ids = None, []
        if embedder.sounds is not None:
            keys, captioned_ids = captioned_clips(inputs.corpus, clip_embeds.keys)
            sounds = embedder.sounds.sounds(np.concatenate([clip_embeds.keys, keys]))
        pool = PoolScreen(args, clips, clip_embeds, sounds, folder, embedder.skipped, captioned_ids)
        return pool.run(inputs.sounds, texts, window_seconds)

    result = from_main_process(run)
    if len(result.rows) < len(clips):
        clips, clip_embeds = clips.select(result.rows), clip_embeds.take(result.rows)
    return clips, clip_embeds, result


def match_clips(
    args: CurateArguments,
    inputs: CurationInputs,
    scale: float | None,
    clips: Dataset,
    clip_embeds: StoredVectors,
    caption_embeds: StoredVectors,
    selected: SelectedCaptions | None,
    scratch: Path,
) -> tuple[Curated, dict]:
    """The pool's clips with their captions, and facts for the provenance. The teacher's scale is used if needed."""
    texts, precisions = caption_embeds[:], {}
    if args.pair_threshold == AUTO:
        assert selected is not None and scale is not None
        estimate = estimate_precision(clip_embeds, texts, selected.indices, selected.labels, scale)
        value, precision = estimate.loosest(args.precision)
        say(f"threshold {value:.4f}: an estimated {precision:.1%} of the pairs are true ({args.precision:.1%} wanted)")
        threshold = Threshold(value)
        precisions = {"wanted_precision": args.precision, "estimated_precision": precision}
    elif args.strategy == "du":
        threshold = args.threshold("pair", strategies.PAPER_DU_THRESHOLD)
    else:
        threshold = args.threshold("pair", strategies.paper_thresholds(inputs.layout)[1])
    options = args.matching_options()
    if args.contrast_labels:
        assert selected is not None and scale is not None
        options["clip_offsets"] = strategies.label_offsets(clip_embeds, selected.label_embeds, scale)
    curated = strategies.match_pool(
        *(clips, clip_embeds, inputs.captions, texts, threshold, selected, inputs.class_names),
        scratch=scratch,
        balance_labels=args.balance_labels,
        max_pairs=args.max_pairs,
        **options,
    )
    if len(curated.pairs) == 0:
        raise strategies.none_reached("pair", curated)
    decision = {"pair_threshold": curated.threshold, "highest_similarity": curated.highest}
    contrast = {"contrast_labels": True} if args.contrast_labels else {}
    return curated, decision | args.matching_options() | contrast | precisions
