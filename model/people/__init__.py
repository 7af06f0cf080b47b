"""People in photographs: pictures are read, people found in them, and each is given joints, a place and perhaps a body."""
