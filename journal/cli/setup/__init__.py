"""`setup`: from an installed package to a journal that runs, on a host with systemd."""
