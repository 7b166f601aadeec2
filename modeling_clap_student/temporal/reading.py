"""Captions for a text tower that does not learn: each is read once in a run."""

import torch
from torch import Tensor, nn


_AT_ONCE, _LENGTH_STEP = 8, 16
_MOST_BYTES = 2**30  # of what is kept


class CaptionReader:
    """What a frozen text tower makes of captions' tokens.

    The tower always sees as many captions, padded to a length that follows from each one's own, so that a caption gets
    the same states, to the bit, in whatever company and whether or not a run was interrupted.

    Args:
        tower: a `BertModel` in eval mode.
    """

    def __init__(self, tower: nn.Module):
        self.tower = tower
        self._kept: dict[tuple[int, ...], Tensor] = {}
        self._bytes = 0

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(texts, tokens) of both, padded at the end -> (texts, tokens, hidden size) float32, 0 for the padding."""
        texts = [
            tuple(row[:count])
            for row, count in zip(input_ids.tolist(), attention_mask.sum(dim=1).tolist(), strict=True)
        ]
        states = {text: self._kept[text] for text in texts if text in self._kept}
        states |= self._read([text for text in dict.fromkeys(texts) if text not in states])
        found = torch.zeros(*input_ids.shape, self.tower.config.hidden_size, device=input_ids.device)
        for row, text in enumerate(texts):
            found[row, : len(text)] = states[text]
        return found

    def _read(self, texts: list[tuple[int, ...]]) -> dict[tuple[int, ...], Tensor]:
        by_length: dict[int, list[tuple[int, ...]]] = {}
        for text in texts:
            by_length.setdefault(-(-len(text) // _LENGTH_STEP) * _LENGTH_STEP, []).append(text)
        states = {}
        for length, group in by_length.items():
            for start in range(0, len(group), _AT_ONCE):
                some = group[start : start + _AT_ONCE]
                filled = some + some[:1] * (_AT_ONCE - len(some))
                states |= zip(some, self._states(filled, length), strict=False)
        for text, state in states.items():
            if self._bytes + state.nbytes <= _MOST_BYTES:
                self._kept[text] = state
                self._bytes += state.nbytes
        return states

    def _states(self, texts: list[tuple[int, ...]], length: int) -> list[Tensor]:
        length = min(length, self.tower.config.max_position_embeddings)
        device = self.tower.device
        ids = torch.tensor([[*text, *[0] * (length - len(text))] for text in texts], device=device)
        lengths = torch.tensor([[len(text)] for text in texts], device=device)
        mask = (torch.arange(length, device=device) < lengths).long()
        states = self.tower(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        return [state[: len(text)].clone() for state, text in zip(states, texts, strict=True)]


__all__ = ["CaptionReader"]
