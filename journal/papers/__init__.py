"""Papers about the journal itself: signed, in French, from live settings and counts; none holds what entries say."""
