"""From web pages to interleaved documents, caption pairs and clean text.

    page (HTML) → Extracted (paragraphs and image references in order) → text, captions, interleaved Documents

Every rule is a pure function over plain values; what runs them over many files is engine.py alone. Knows nothing of
what models do inside.
"""
