"""Pure: what happens to each token, and which rows each layer runs on."""
