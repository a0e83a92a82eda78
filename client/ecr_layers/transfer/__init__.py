"""HTTP, and the bytes of blobs: by ranges, resumed, verified."""
