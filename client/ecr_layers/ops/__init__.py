"""What operators of a deployed service use. Needs the extra `ops`."""
