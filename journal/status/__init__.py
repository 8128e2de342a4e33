"""The status of the service: figures, readiness checks, restored databases."""
