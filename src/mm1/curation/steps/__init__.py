"""The steps of curation, one file each: what is read, which pure function decides, what is written and counted."""
