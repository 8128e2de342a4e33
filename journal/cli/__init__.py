"""The operator's command line: the one place where every part meets."""
