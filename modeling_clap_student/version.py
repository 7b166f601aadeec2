"""The package's version, alone in its file so that every module may name it."""

__version__ = "0.2.0"
