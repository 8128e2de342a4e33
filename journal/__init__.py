"""The access journal: pure core, then its input and output."""

__version__ = "1.0.0rc1"
