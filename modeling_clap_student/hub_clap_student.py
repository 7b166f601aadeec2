"""A checkpoint on the Hub: pushed whole, with its processor and its card."""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import yaml
from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    EvalResult,
    EvalResultEntry,
    HfApi,
    ModelCard,
    eval_result_entries_to_yaml,
    hf_hub_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import HfHubHTTPError
from torch import nn

from .card_clap_student import HUB_ID, model_card
from .redaction_clap_student import public


# transformers saves the files that a model's code imports. This import never runs, but it makes transformers save
# sentence_clap_student.py, which sentence-transformers loads by its name.
if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Model

    from .sentence_clap_student import SentenceClapStudent  # noqa: F401
else:
    _Model = object  # the mixin comes before the model's own class

# Makes a checkpoint loadable by sentence-transformers, and tells mteb which modalities it takes.
SENTENCE_FILES: dict[str, Any] = {
    "modules.json": [{"idx": 0, "name": "0", "path": "", "type": "sentence_clap_student.SentenceClapStudent"}],
    "sentence_bert_config.json": {
        "modality_config": {"audio": {"method": "encode_audio"}, "text": {"method": "encode_text"}}
    },
}


def fingerprint(model: nn.Module) -> str:
    """A digest of all weights and buffers. Equal models have equal digests, wherever they are stored."""
    digest = hashlib.blake2b(digest_size=16)
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def follow_umask(file: Path) -> None:
    """Gives a file the permissions of the umask. safetensors makes its files private to the user."""
    mask = os.umask(0o077)
    os.umask(mask)
    file.chmod(0o666 & ~mask)


def cached_commit(
    name: str, revision: str | None = None, cache_dir: str | None = None, file: str = "config.json"
) -> str | None:
    """The commit of a Hub repository whose files were just loaded; None for a folder."""
    if os.path.isdir(name):
        return None
    found = try_to_load_from_cache(name, file, revision=revision, cache_dir=cache_dir)
    return Path(found).parent.name if isinstance(found, str) else None


# Files that this package leaves beside a result. Their paths are those of the user's machine.
_WITH_PATHS = ("arguments.json", "config.json", "details.json", "provenance.json", "results.json")


def commit_folder(
    folder: str | Path, repo_id: str, commit_message: str, token: str | bool | None = None, **kwargs
) -> CommitInfo:
    """Uploads the files of a folder as one commit, however long it takes. `upload_folder` may make several.

    An interrupted upload leaves the repository as it was. The next try sends only what is missing. Training
    checkpoints inside the folder are not uploaded. Of each path on this machine, only the last part is uploaded.

    Args:
        kwargs: for `HfApi.create_commit`: `repo_type`, `revision`, `create_pr`.
    """
    files = sorted(file.relative_to(folder) for file in Path(folder).rglob("*") if file.is_file())
    files = [file for file in files if not file.parts[0].startswith(("_", "."))]
    files = [file for file in files if not any(part.startswith("checkpoint-") for part in file.parts[:-1])]
    operations = [CommitOperationAdd(file.as_posix(), _to_upload(Path(folder) / file)) for file in files]
    if kwargs.get("repo_type") in (None, "model") and Path("README.md") in files:
        card = ModelCard.load(Path(folder) / "README.md", ignore_metadata_errors=True)
        operations += _benchmark_results(card.data.eval_results or [], repo_id, token)
    return HfApi(token=token).create_commit(repo_id, operations, commit_message=commit_message, **kwargs)


def _benchmark_results(
    results: list[EvalResult], repo_id: str, token: str | bool | None
) -> Iterator[CommitOperationAdd]:
    """Scores on Hub datasets that are benchmarks, as the files from which the Hub builds their leaderboards.

    A benchmark's `eval.yaml` names its tasks. The Hub shows an error on a model's page for a task it does not know. So
    no file is written where there are several tasks. Source: https://huggingface.co/docs/hub/eval-results
    """
    for result in results:
        dataset = result.dataset_name
        if not HUB_ID.fullmatch(dataset):
            continue
        try:
            file = hf_hub_download(dataset, "eval.yaml", repo_type="dataset", token=token)
            tasks = yaml.safe_load(Path(file).read_text(encoding="utf-8"))["tasks"]
            (task,) = [task["id"] for task in tasks]
        except (HfHubHTTPError, OSError, yaml.YAMLError, KeyError, TypeError, ValueError):  # not a benchmark
            continue
        args = result.metric_args or {}
        notes = f"zero-shot {result.metric_type}, {args.get('n')} clips, the value in percent"
        source = {"source_url": f"https://huggingface.co/{repo_id}", "source_name": "Model card"}
        entry = EvalResultEntry(dataset, task, round(100 * result.metric_value, 2), notes=notes, **source)
        text = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False)
        yield CommitOperationAdd(f".eval_results/{dataset.replace('/', '_')}.yaml", text.encode())


def _to_upload(file: Path) -> str | bytes:
    """A file's path, or its content without the user's paths."""
    if file.name not in _WITH_PATHS:
        return str(file)
    content = json.loads(file.read_text(encoding="utf-8"))
    shared = public(content)
    return str(file) if shared == content else (json.dumps(shared, indent=2) + "\n").encode()


_Whole = TypeVar("_Whole", bound="WholeCheckpointMixin")


class WholeCheckpointMixin(_Model):
    """For a model with a processor: `read_processor(name, **kwargs)` says how to load it."""

    if TYPE_CHECKING:

        @classmethod
        def read_processor(cls, name: str, **kwargs) -> Any: ...

    _processor: Any = None
    _files_beside: dict[str, Any] = {}  # name -> content, as JSON

    @property
    def processor(self):
        """The processor of the checkpoint that the model was loaded from, or the one that was set.

        Raises:
            ValueError: none was set, and the model was not loaded from a checkpoint that has one.
        """
        if self._processor is None:
            raise ValueError("this model came without a processor: set model.processor")
        return self._processor

    @processor.setter
    def processor(self, processor) -> None:
        self._processor = processor

    @classmethod
    def from_pretrained(cls: type[_Whole], pretrained_model_name_or_path, *args, **kwargs) -> _Whole:
        """As `PreTrainedModel.from_pretrained`. Also loads the processor, and puts every weight at an aligned address.

        Loaded weights keep the alignment that they had in the file. Matrix libraries add in another order for
        unaligned weights. The same weights would then give embeddings that differ in the last bits before saving and
        after loading.
        """
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model, name = loaded[0] if isinstance(loaded, tuple) else loaded, str(pretrained_model_name_or_path)
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.data_ptr() % 64:
                tensor.data = tensor.data.clone()
        # Training writes the commit into its record.
        model.config._commit_hash = cached_commit(name, kwargs.get("revision"), kwargs.get("cache_dir"))
        names = ("revision", "token", "cache_dir", "subfolder", "local_files_only", "force_download", "proxies")
        try:
            model._processor = cls.read_processor(name, **{key: kwargs[key] for key in names if key in kwargs})
        except (OSError, ValueError):  # a checkpoint with weights only
            model._processor = None
        return loaded

    def save_pretrained(self, save_directory, *args, push_to_hub: bool = False, **kwargs) -> None:
        """As `PreTrainedModel.save_pretrained`. Also saves the processor where the model has one.

        Args:
            save_directory: a folder.
            push_to_hub: also pushes the files just written, to `repo_id` or a repository with the folder's name.
            args, kwargs: for `PreTrainedModel.save_pretrained` and `push_to_hub`.
        """
        names = ("repo_id", "commit_message", "private", "revision", "create_pr")
        hub = {name: kwargs.pop(name) for name in names if name in kwargs} if push_to_hub else {}
        super().save_pretrained(save_directory, *args, **kwargs)
        if kwargs.get("is_main_process", True):
            for file in Path(save_directory).glob("model*.safetensors"):
                follow_umask(file)
            if self._processor is None:
                warnings.warn(
                    "saved without a processor: set model.processor to save one with the model", stacklevel=2
                )
            else:
                self._processor.save_pretrained(save_directory)
            for name, content in self._files_beside.items():
                Path(save_directory, name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        if push_to_hub:
            self._push(save_directory, hub.pop("repo_id", Path(save_directory).name), kwargs.get("token"), **hub)

    def push_to_hub(self, repo_id: str, *, token: str | bool | None = None, **kwargs) -> CommitInfo:
        """Uploads weights, config, processor, code and a model card, all in one commit.

        An interrupted upload leaves the repository as it was. The next try sends only what is missing.

        Args:
            repo_id: `someone/model`; created if it does not exist.
            token: by default the one that `hf auth login` stored, or `HF_TOKEN`.
            kwargs: `private`, for a new repository; `revision`, a branch; `commit_message`, `create_pr`; and for
                `save_pretrained` `max_shard_size`.
        """
        names = ("commit_message", "private", "revision", "create_pr")
        hub = {name: kwargs.pop(name) for name in names if name in kwargs}
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, **kwargs)
            return self._push(folder, repo_id, token, **hub)

    def _push(self, folder, repo_id, token, private=None, revision=None, commit_message="Upload model", **kwargs):
        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        model_card(repo_id, self.config, fingerprint(self)).save(Path(folder) / "README.md")
        return commit_folder(folder, repo_id, commit_message, token, revision=revision, **kwargs)
