"""`journal-verify`: the command of the auditor, and its single file."""
