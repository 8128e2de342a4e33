"""Documents for people, in French and signed, made from data alone: `extrait.pdf`, attestations of destruction."""
