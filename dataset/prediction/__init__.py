"""What a trained network says of video files: which files, which windows of them, and what is written of each."""
