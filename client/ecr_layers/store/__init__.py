"""What a download writes: image layouts, Docker archives, directories of blobs."""
