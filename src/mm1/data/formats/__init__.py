"""What people already have, as Documents: one reader a format, `catalog.py` lists and recognises them."""
