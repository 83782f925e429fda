"""`report.html` of a curation: the funnel, how things are spread, what was kept and dropped at every rule.

    write_report(funnel, samples, statistics, Path("out/report.html"), sets={"text": 871, "interleaved": 310})

One file that opens without a network. Whatever comes from pages is text there, never markup, and an address is a link
only if it is one of the web. Knows nothing of how things were judged.
"""

from mm1.curation.report.page import write_report as write_report
