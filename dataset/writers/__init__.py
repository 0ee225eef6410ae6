"""Where videos are written: JPEGs and H.264, the places that keep them, copies with words on them."""
