"""Telling somebody: what is wrong with the host or the service, by mail and by webhook."""
