"""Where pages come from: WARC files, folders of HTML, tables of HTML, lists of addresses.

    parts = list_parts([Path("site"), Path("crawl.warc.gz")])      # plain values, for any worker
    for page in read_pages(parts[0]): …                            # Page, or Dropped for what was none
    read_local(parts[0].root, "local:img/a.png")                   # the bytes of a picture of the folder

What a file is, is told by its content. Every page that a source holds comes out as a Page or as a Dropped, each once.
"""

from mm1.curation.sources.folder import read_local as read_local
from mm1.curation.sources.hosts import BUCKETS_AT_ONCE as BUCKETS_AT_ONCE
from mm1.curation.sources.hosts import bucket_of as bucket_of
from mm1.curation.sources.listing import list_parts as list_parts
from mm1.curation.sources.page_lists import read_downloaded as read_downloaded
from mm1.curation.sources.page_lists import spread as spread
from mm1.curation.sources.part import Part as Part
from mm1.curation.sources.part import SourcesConfig as SourcesConfig
from mm1.curation.sources.reading import Listed as Listed
from mm1.curation.sources.reading import read_images as read_images
from mm1.curation.sources.reading import read_listed as read_listed
from mm1.curation.sources.reading import read_pages as read_pages
