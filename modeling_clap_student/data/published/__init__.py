"""The published corpora, by name."""

from .audiocaps import AUDIOCAPS
from .audioset import AUDIOSET
from .clotho import CLOTHO
from .esc50 import ESC50
from .fsd50k import FSD50K
from .macs import MACS
from .tut17 import TUT17
from .urbansound8k import URBANSOUND8K
from .wavcaps import WAVCAPS


_CORPORA = (AUDIOCAPS, AUDIOSET, CLOTHO, ESC50, FSD50K, MACS, TUT17, URBANSOUND8K, WAVCAPS)
PUBLISHED = {corpus.name: corpus for corpus in _CORPORA}
