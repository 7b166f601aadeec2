"""Finds all pairs of two sets of vectors whose inner product reaches a floor, fast and exactly."""

import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from time import perf_counter

import numpy as np
import torch

from ..errors import InputError
from ..utils.console import progress_bar
from .leading_directions import leading_directions


# Queries and keys of a block; and vectors per elementwise step, which on CPU stay in a core's cache.
BLOCKS = {"cpu": (2048, 2048), "cuda": (8192, 32768)}
AT_ONCE = {"cpu": 64, "cuda": 65536}

GROUP = 16  # columns per group; each group's largest is compared first


@dataclass(frozen=True)
class Pairs:
    """Rows of queries and of keys (pairs,) int64, and their inner products: float64 if order matters, else float32."""

    queries: np.ndarray
    keys: np.ndarray
    similarities: np.ndarray

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, index) -> "Pairs":
        return Pairs(self.queries[index], self.keys[index], self.similarities[index])

    @classmethod
    def join(cls, parts: list["Pairs"]) -> "Pairs":
        if not parts:
            return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        columns = zip(*((part.queries, part.keys, part.similarities) for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


@dataclass(frozen=True)
class Rounded:
    """Vectors in the product's type (rows, width), padded with zeros, and how much they were rounded."""

    values: torch.Tensor
    norm: float  # largest norm of an original
    residual: float  # largest norm of an original minus its rounded self


class SimilarityScan:
    """Compares all queries with all keys, a block at a time.

    A product in bfloat16 (in float32 where that is faster) finds candidates. A float32 score drops most of the false
    ones. A float64 score of the float32 inputs decides those that float32 can't. So the result equals that of float64
    brute force, in the time of the product.

    **Candidates.** Let q, k be float32 vectors, q', k' their rounded versions, d the dimension. The product computes
    q'·k', and by Cauchy and Schwarz

        |q'·k' - q·k| = |(q' - q)·k' + q·(k' - k)| <= |q' - q| |k'| + |q| |k' - k|.

    The norms on the right are measured, not assumed: for unit vectors |q' - q| is at most 2⁻⁸ and typically 0.0017.
    Summing d products of float32 size, in any order, rounded or truncated, adds at most d 2⁻²² |q'| |k'|. The sum of
    both is the margin (about 0.0037 for unit vectors of 1024 dimensions). Rounding the result to the product's type is
    monotone, and the floor minus the margin is rounded in the same way, so no pair is lost.

    **Bounds.** On a CPU, where embeddings spread over few directions, the candidates are those of a product of short
    vectors, see `leading_directions`. It takes a fraction of the time and loses no pair.

    **Decision.** A float32 inner product is within (d + 2) 2⁻²⁴ |q| |k| of the true one (Higham, Accuracy and
    Stability of Numerical Algorithms, 2002, section 3.1). Pairs nearer than that to the floor are scored in float64,
    where products of float32 numbers are exact. Equal vectors score equally.

    Memory beside the inputs: the keys in the product's type, or short; one block, and the pairs found in a block of
    queries; on a GPU also the keys in float32.

    Args:
        queries, keys: (rows, dim) arrays or tensors, or anything with a length that can be sliced into such; taken as
            float32.
        device: where to compute; by default the GPU, if there is one.
        block_size: queries and keys of a block.

    Attributes:
        count: number of pairs found so far.
        highest: the highest inner product found: that of all pairs once a pair was found. Before that, that of the
            pair which the product ranks highest, at most two margins below.
        floor: whoever takes the pairs may raise it for the next blocks.
    """

    def __init__(self, queries, keys, device: str | torch.device | None = None, block_size: int | None = None):
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.device = torch.empty(0, device=device).device  # with its index, which threads need
        self.workers = torch.get_num_threads() if self.device.type == "cpu" else 1
        self.rows, self.columns = (block_size, block_size) if block_size else BLOCKS[self.device.type]
        self.columns = -(-self.columns // GROUP) * GROUP
        self.dtype = product_dtype(self.device)
        self.queries, self.keys = queries, _floats(keys[:], self.device)
        self.dim = self.keys.shape[1]
        self.keys_norm = self._norm(self.keys)
        block = {"dtype": self.dtype, "device": self.device}
        self.buffers = deque(torch.empty(self.rows * self.columns, **block) for _ in range(self.workers))
        self.floor, self.highest, self.count = -np.inf, -np.inf, 0

    @cached_property
    def rounded_keys(self) -> Rounded:
        return self._rounded(self.keys, -len(self.keys) % GROUP)

    def pairs(self, floor: float, nearest: int | None = None, exact: bool = False) -> Iterator[Pairs]:
        """Yields the pairs that reach the floor, block by block, ordered by query, then key.

        Args:
            floor: sets the attribute.
            nearest: drop pairs that are certainly not among this many best of their query; some others remain.
            exact: return all similarities in float64 instead of float32.
        """
        self.floor, results = floor, deque()
        bounded = self.device.type == "cpu" and not nearest
        self.leading = leading_directions(self.queries, self.keys, floor, self.dtype) if bounded else None
        padding = -len(self.keys) % GROUP
        short = None if self.leading is None else self._rounded(self.leading.bounding(self.keys), padding)
        self.compared_keys = short or self.rounded_keys
        starts = range(0, len(self.queries), self.rows)
        with _workers(self.device, self.workers) as pool:
            for start in progress_bar(starts, desc="matching", unit="block", disable=len(starts) < 100):
                stop = min(start + self.rows, len(self.queries))
                results.append(pool.submit(self._search, start, stop, nearest, exact))
                if len(results) > 2 * self.workers:
                    yield self._note(*results.popleft().result())
            while results:
                yield self._note(*results.popleft().result())

    def _note(self, pairs: Pairs, highest_met: float) -> Pairs:
        """Keeps `count` and `highest` up to date."""
        if len(pairs):
            self.highest = max(pairs.similarities.max(), self.highest if self.count else -np.inf)
        elif not self.count:
            self.highest = max(self.highest, highest_met)
        self.count += len(pairs)
        return pairs

    def _search(self, start: int, stop: int, nearest: int | None, exact: bool) -> tuple[Pairs, float]:
        """The pairs of a block of queries, and the highest inner product found there.

        If most pairs reach the floor, they fill a GPU's memory. Such a block is searched in halves.
        """
        try:
            return self._search_at_once(start, stop, nearest, exact)
        except torch.OutOfMemoryError:
            if stop - start < 2:
                raise
        middle = (start + stop) // 2
        halves = [self._search(*ends, nearest, exact) for ends in ((start, middle), (middle, stop))]
        return Pairs.join([pairs for pairs, _ in halves]), max(highest for _, highest in halves)

    def _search_at_once(self, start: int, stop: int, nearest: int | None, exact: bool) -> tuple[Pairs, float]:
        queries, floor = _floats(self.queries[start:stop], self.device), self.floor
        if queries.shape[1] != self.dim:
            raise InputError(f"embeddings of {queries.shape[1]} and of {self.dim} dimensions can't be compared")
        norm, pairs, highest = self._norm(queries), Pairs.join([]), -np.inf
        if self.leading:
            short = self._rounded(self.leading.bounding(queries))
            pairs, _ = self._found(queries, norm, (short, self.compared_keys), floor, None, exact)
        if not self.leading or not (len(pairs) or self.count):  # bounds don't tell which is the highest
            compared = self._rounded(queries), self.rounded_keys
            pairs, highest = self._found(queries, norm, compared, floor, nearest, exact)
        return Pairs(pairs.queries + start, pairs.keys, pairs.similarities), highest

    def _found(
        self,
        queries: torch.Tensor,
        norm: float,
        compared: tuple[Rounded, Rounded],
        floor: float,
        nearest: int | None,
        exact: bool,
    ) -> tuple[Pairs, float]:
        """The pairs of a block of queries, from 0, and the highest inner product met among the candidates."""
        buffer = self.buffers.pop()
        try:
            candidates, highest = self._candidates(queries, *compared, floor, nearest, buffer)
        finally:
            self.buffers.append(buffer)
        row, key = candidates // len(self.keys), candidates % len(self.keys)
        scores = self._scores(queries, row, key)
        highest = max(highest, float(scores.max()) if len(scores) else -np.inf)
        return self._decide(queries, norm, row, key, scores, floor, exact), highest

    def _rounded(self, vectors: torch.Tensor, padding: int = 0) -> Rounded:
        """Rounds the vectors. The last one is repeated so that groups are full."""
        dim = vectors.shape[1]
        width = -(-dim // 32) * 32
        values = torch.zeros(len(vectors) + padding, width, dtype=self.dtype, device=self.device)
        residual, size = 0.0, AT_ONCE[self.device.type]
        for part, target in zip(vectors.split(size), values.split(size), strict=False):
            target[: len(part), :dim] = part
            residual = max(residual, _longest(part - target[: len(part), :dim].float()))
        values[len(vectors) :] = values[len(vectors) - 1]
        return Rounded(values, self._norm(vectors), residual)

    def _norm(self, vectors: torch.Tensor) -> float:
        """The largest norm."""
        norm = np.max([_longest(part) for part in vectors.split(AT_ONCE[self.device.type])], initial=0.0)
        if not np.isfinite(norm):
            raise InputError("embeddings that are not finite can't be compared")
        return float(norm)

    def _margin(self, queries: Rounded, keys: Rounded) -> float:
        summing = self.dim * 2.0**-22 * (queries.norm + queries.residual) * (keys.norm + keys.residual)
        return queries.residual * (keys.norm + keys.residual) + queries.norm * keys.residual + summing

    def _candidates(
        self,
        queries: torch.Tensor,
        rounded: Rounded,
        rounded_keys: Rounded,
        floor: float,
        nearest: int | None,
        buffer: torch.Tensor,
    ) -> tuple[torch.Tensor, float]:
        """query x number of keys + key of all pairs that may reach the floor, ascending; if none may, the highest
        found."""
        margin, parts, highest = self._margin(rounded, rounded_keys), [], -np.inf
        floors = torch.full((len(queries), 1), floor - margin, dtype=torch.float64, device=self.device).to(self.dtype)
        best = None
        for first in range(0, len(rounded_keys.values), self.columns):
            keys = rounded_keys.values[first : first + self.columns]
            product = buffer[: len(queries) * len(keys)].view(len(queries), len(keys))
            torch.mm(rounded.values, keys.T, out=product)
            if nearest:
                best = _best(product, best, nearest)
                floors = torch.maximum(floors, _floor_of(best, nearest, margin))
            row, key = _reaching(product, floors)
            key += first
            if first + self.columns >= len(self.keys):
                row, key = row[key < len(self.keys)], key[key < len(self.keys)]
            if len(row):
                parts.append(row * len(self.keys) + key)
            elif not parts and not self.count:
                query, column = divmod(int(product.argmax()), product.shape[1])
                key_vector = self.keys[min(first + column, len(self.keys) - 1)]
                highest = max(highest, float(queries[query].double() @ key_vector.double()))
        numbers = torch.cat(parts) if parts else row
        # numpy's sort is ten times as fast as torch's on CPU.
        numbers = numbers.sort().values if numbers.is_cuda else torch.from_numpy(np.sort(numbers.numpy()))
        return numbers, highest

    def _decide(self, queries, norm: float, row, key, scores, floor: float, exact: bool) -> Pairs:
        bound = (self.dim + 2) * 2.0**-24 * 1.001 * norm * self.keys_norm
        likely = scores.double() >= floor - bound
        row, key, scores = row[likely], key[likely], scores[likely].double()
        unsure = torch.ones_like(scores, dtype=torch.bool) if exact else scores <= floor + bound
        scores[unsure] = self._exact_scores(queries, row[unsure], key[unsure])
        reaching = scores >= floor
        row, key, scores = (column[reaching].cpu().numpy() for column in (row, key, scores))
        return Pairs(row, key, scores if exact else scores.astype(np.float32))

    def _scores(self, queries: torch.Tensor, row: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """(pairs,) float32 inner products; `row` is ascending. A product at chosen places, without copying vectors."""
        ends = torch.bincount(row, minlength=len(queries)).cumsum(0)
        size, starts = (len(queries), len(self.keys)), torch.nn.functional.pad(ends, (1, 0))
        places = torch.sparse_csr_tensor(starts, key, queries.new_zeros(len(key)), size, check_invariants=False)
        return torch.sparse.sampled_addmm(places, queries, self.keys.T, beta=0).values()

    def _exact_scores(self, queries: torch.Tensor, row: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """(pairs,) float64 inner products, always in batches of one size: another size may be summed differently."""
        size, count = AT_ONCE[self.device.type], len(row)
        row, key = (torch.nn.functional.pad(index, (0, -count % size)).split(size) for index in (row, key))
        parts = zip(row, key, strict=True) if count else ()
        scores = [(queries[rows].double() * self.keys[keys].double()).sum(1) for rows, keys in parts]
        return torch.cat(scores)[:count] if count else queries.new_empty(0, dtype=torch.float64)


def product_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 or float32, whichever multiplies faster here. It affects only the time, not the result."""
    backend = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    if backend.matmul.fp32_precision not in ("none", "ieee"):
        return torch.bfloat16  # a float32 product would round its inputs more coarsely than assumed
    return _faster_dtype(device)


@cache
def _faster_dtype(device: torch.device) -> torch.dtype:
    rows = 512 if device.type == "cpu" else 8192  # on a GPU, less would end before it is launched
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        vectors, times = torch.ones(rows, 1024, dtype=dtype, device=device), []
        for _ in range(4):
            start = perf_counter()
            (vectors @ vectors.T)[0, 0].item()
            times.append(perf_counter() - start)
        seconds[dtype] = min(times)
    return min(seconds, key=seconds.get)


def _reaching(product: torch.Tensor, floors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of all elements of at least their row's floor, (rows, 1). Checks groups first: most have none."""
    if bool((floors > 0).all()):
        # Positive floats sort like the integers of their bits, whose maxima are several times as fast.
        kind = {2: torch.int16, 4: torch.int32}[product.itemsize]
        product, floors = product.view(kind), floors.view(kind)
    groups = product.view(len(product), GROUP, -1)
    row, column = _where(groups.amax(1), floors)
    hit, member = _where(groups[row, :, column], floors[row])
    return row[hit], member * groups.shape[2] + column[hit]


def _where(values: torch.Tensor, floors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of values of at least their row's floor. On CPU numpy finds them five times as fast as torch."""
    if values.is_cuda:
        return (values >= floors).nonzero(as_tuple=True)
    reaching = (values >= floors).numpy() if values.is_floating_point() else values.numpy() >= floors.numpy()
    places = torch.from_numpy(np.flatnonzero(reaching))
    return places // values.shape[1], places % values.shape[1]


def _best(product: torch.Tensor, best: torch.Tensor | None, count: int) -> torch.Tensor:
    """(rows, up to count) largest maxima of groups so far. At least so many elements are that large."""
    maxima = product.view(len(product), GROUP, -1).amax(1)
    maxima = maxima if best is None else torch.cat([best, maxima], 1)
    return maxima.topk(min(count, maxima.shape[1])).values


def _floor_of(best: torch.Tensor, count: int, margin: float) -> torch.Tensor:
    """(rows, 1) a lower limit, in the product, of each row's `count` best.

    `count` elements of the product are at least `last`. So as many true values are at least `last` minus the margin
    and the rounding of the result, 2⁻⁸ of it. Their own products lie at most a margin below that.
    """
    if best.shape[1] < count:
        return torch.full_like(best[:, :1], -torch.inf)
    last = best[:, -1:].double()
    return (last - last.abs() * 2.0**-8 - 2 * margin).to(best.dtype)


def _floats(vectors, device: torch.device) -> torch.Tensor:
    if not isinstance(vectors, torch.Tensor):
        vectors = torch.from_numpy(np.require(vectors, np.float32, ["C", "W"]))
    return vectors.to(device, torch.float32).contiguous()


def _longest(vectors: torch.Tensor) -> float:
    """The largest norm; never less than the true one."""
    return float(torch.linalg.vector_norm(vectors, dim=1).max()) * (1 + vectors.shape[1] * 2.0**-23)


@contextmanager
def _workers(device: torch.device, count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads with one core each. One block per core is faster than one block on all cores: no thread waits."""
    num_threads, settings = torch.get_num_threads(), torch.backends.cuda.matmul
    reduced = settings.allow_bf16_reduced_precision_reduction
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR")
        torch.zeros(1, 1).to_sparse_csr()  # it warns once
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
    try:
        if device.type == "cuda":  # cuBLAS must not add partial sums in bfloat16, which the margin does not cover
            settings.allow_bf16_reduced_precision_reduction = False
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(num_threads)  # for later threads: each has its own setting
        if device.type == "cuda":
            settings.allow_bf16_reduced_precision_reduction = reduced
