"""Downloads images and layers into directories and archives, every blob verified."""
