"""What stands between a visitor and the models: device, line, uploads, refusals."""
