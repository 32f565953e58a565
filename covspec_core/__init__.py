"""The CoVSpec engine: device-edge speculative decoding for vision-language models."""
