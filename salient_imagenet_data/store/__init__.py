"""The store on disk: arrays, tables and a manifest; reading, writing, locating, comparing."""
