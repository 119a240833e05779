"""Whether what is read is what was written: fields of the manifest, files, shards, rows."""
