"""Dense-prediction heads: decoders of segmentation_models_pytorch, detectors of torchvision."""
