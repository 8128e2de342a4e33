"""The access journal: pure core, then its input and output."""

__version__ = "0.1.0"
