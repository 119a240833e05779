"""The official 2022 release: read in place, checked, and turned into a store.

archive and zip_index: files by name in a zip or a folder. layout: what is where. fit: one mask and its grid.
work: what a worker process does. importing: the job.
"""
