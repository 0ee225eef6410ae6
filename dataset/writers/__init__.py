"""Writers: JPEG and H.264 encoding, stores of videos, annotated copies."""
