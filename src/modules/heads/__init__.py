"""What reads a student's maps: decoders of segmentation, detectors; libraries' own, ours around."""
