"""Looking at what there is: decoding checks, pages of what a network is shown, the speed of a loader."""
