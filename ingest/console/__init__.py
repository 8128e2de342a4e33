"""The console: pages in French for the people of a commune, the auditor and the host's operators."""
