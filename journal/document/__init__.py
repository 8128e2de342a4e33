"""The people's view of an extract: `extrait.pdf`, in French, made from data alone and never the evidence."""
