"""Checks a Hub model before it is loaded: whether it can be reached, and how much must be downloaded."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from ..errors import InputError


_PATIENCE = 10  # seconds that the Hub has to answer
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
_MODULES = "modules.json"  # marks a SentenceTransformer, whose weights may lie in folders


@dataclass(frozen=True)
class HubModel:
    """A repository of models.

    Attributes:
        is_cached: its weights are on this machine.
        answers: the Hub answered, whatever it said.
        download_bytes: size of the weights that would be loaded; None where it is unknown.
    """

    is_cached: bool
    answers: bool
    download_bytes: int | None = None

    def __str__(self) -> str:
        if self.is_cached:
            return "in the cache"
        size = f" of {self.download_bytes / 1e6:,.0f} MB" if self.download_bytes else ""
        return f"a download{size}"


def is_hub_id(name: str) -> bool:
    """Whether a name could be a repository's, and not only a folder's."""
    return bool(re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", name))


def ask_hub(repository: str, revision: str | None = None) -> HubModel:
    """Looks a model up, once and without retries."""
    files = (*_WEIGHTS, _MODULES)
    cached = any(isinstance(try_to_load_from_cache(repository, file, revision=revision), str) for file in files)
    try:
        facts = HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=_PATIENCE)
    except (HfHubHTTPError, HFValidationError):  # no such model, or no permission: loading it will say so
        return HubModel(cached, answers=True)
    except Exception:  # no network, no answer in time, or HF_HUB_OFFLINE; each HTTP library has its own
        return HubModel(cached, answers=False)
    sizes = {file.rfilename: file.size for file in facts.siblings or ()}
    weights = [name for name in sizes if name.endswith(".safetensors")] or [n for n in sizes if n == _WEIGHTS[-1]]
    return HubModel(cached, True, sum(sizes[name] or 0 for name in weights) or None)


@contextmanager
def within_reach(repository: str, revision: str | None = None, otherwise: str = "") -> Iterator[HubModel]:
    """Wraps the loading of a Hub model. Without a network, the model comes from the cache or the load fails at once.

    The client alone would try six times for each file.

    Args:
        repository: the Hub id.
        revision: its revision.
        otherwise: text for the message: what to do where it can't be downloaded.

    Raises:
        InputError: the Hub does not answer, and the model is not in the cache.
    """
    found = ask_hub(repository, revision)
    if not found.answers and not found.is_cached:
        raise InputError(f"can't download {repository}: {constants.ENDPOINT} does not answer{otherwise}")
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not found.answers
    try:
        yield found
    finally:
        constants.HF_HUB_OFFLINE = before
