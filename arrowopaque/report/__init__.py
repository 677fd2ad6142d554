"""The report: what a store holds and how it is, as figures and as a page."""
