"""HTML to content: `extract` a page's text and images, in order. Knows nothing of where pages come from."""

from mm1.curation.html.extract import MAX_BYTES, extract

__all__ = ["MAX_BYTES", "extract"]
