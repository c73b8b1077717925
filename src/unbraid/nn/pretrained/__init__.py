"""Pretrained networks: VGG16, AlexNet, and teachers."""
