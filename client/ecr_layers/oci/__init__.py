"""Documents of images: references, manifests, configs, platforms. No input or output."""
