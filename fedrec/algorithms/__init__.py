"""The algorithms that come with fedrec. Loaded at the coordinator: nothing here opens data."""
