"""Training from streams. Every process and worker reads its share, and the loader can resume at its position."""

from pathlib import Path

import torch
from datasets import IterableDataset
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader
from transformers.trainer_utils import IntervalStrategy

from ..data.replay import MixedStream
from ..errors import InputError, reading


_COLUMNS = ["audio", "audio_id", "caption", "origin_id"]  # origin_id identifies evaluation clips


def check_steps(args) -> None:
    """Checks the settings that a stream needs, because it has no length.

    Raises:
        InputError: no setting says when to stop, or when to save.
    """
    if args.max_steps <= 0:
        raise InputError("--max_steps is missing: a stream has no length, so no epoch would end")
    if args.save_strategy == "epoch":
        args.save_strategy = IntervalStrategy.STEPS
    if args.validation_fraction > 0:
        raise InputError("--validation_fraction needs a corpus with a length, and a stream has none")


def mixed_stream(args, curated: IterableDataset, replay: IterableDataset | None = None) -> MixedStream:
    """The data that a process trains on.

    Args:
        args: `ClapStudentTrainingArguments`.
        curated: pairs with `audio audio_id caption origin_id`.
        replay: pairs with the same columns.
    """
    # A resumed run continues from the stream's own state. It does not read everything before it again.
    args.ignore_data_skip = True
    return MixedStream(
        curated.select_columns(_COLUMNS),
        None if replay is None else replay.select_columns(_COLUMNS),
        args.train_batch_size,
        args.gradient_accumulation_steps,
        args.replay_probability,
        args.seed if args.data_seed is None else args.data_seed,
        args.process_index,
        args.world_size,
    )


class _Loader(StatefulDataLoader):
    """Names the file of a state that can't be loaded. That is found out only when the loader starts."""

    state_file: Path | None = None

    def __iter__(self):
        file, self.state_file = self.state_file, None
        if file is None:
            return super().__iter__()
        with reading(file, "state of this stream"):
            return super().__iter__()


class StreamingMixin:
    """For a `Trainer` whose `train_dataset` may be a `MixedStream`."""

    _stream_loader: _Loader | None = None

    def get_train_dataloader(self) -> DataLoader:
        """As `Trainer.get_train_dataloader`; here the stream's shards are split among processes and workers."""
        if not isinstance(self.train_dataset, MixedStream):
            return super().get_train_dataloader()
        self._stream_loader = _Loader(
            self.train_dataset,
            batch_size=None,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            # A generator of its own: starting a loader draws a number. A resumed run starts one loader more, and would
            # continue with other dropout.
            generator=torch.Generator().manual_seed(self.args.seed),
        )
        return self._stream_loader

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        if self._stream_loader is not None:
            torch.save(self._stream_loader.state_dict(), self._stream_state(output_dir))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        if self._stream_loader is not None and checkpoint is not None:
            file = self._stream_state(checkpoint)
            with reading(file, "state of this stream"):
                self._stream_loader.load_state_dict(torch.load(file, weights_only=True))
            self._stream_loader.state_file = file

    def _stream_state(self, folder: str) -> Path:
        return Path(folder, f"stream_state_{self.args.process_index}.pth")
